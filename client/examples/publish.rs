//! Publishes one message and waits until the broker has it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = laneway_client::connect("tcp://127.0.0.1:5263").await?;
    client.publish("sensors/imu/x", "21.5").await?;
    client.flush().await?;
    client.close().await?;
    Ok(())
}
