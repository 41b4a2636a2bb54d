//! Publishes one message and waits until two subscribers have it.
use laneway_client::Level;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = laneway_client::connect("tcp://127.0.0.1:5263").await?;
    let confirmed = client.publish_confirmed("plant/stop", "now", Level::delivered(2)).await?;
    println!("{} subscribers have it", confirmed.receivers);
    client.close().await?;
    Ok(())
}
