//! Tells what happens to the connection while the broker comes and goes.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = laneway_client::connect("tcp://127.0.0.1:5263").await?;
    let mut events = client.events();
    while let Some(event) = events.recv().await {
        println!("{event:?}");
    }
    Ok(())
}
