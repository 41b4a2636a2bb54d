//! Publishes a million numbers, many to a frame.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = laneway_client::connect("tcp://127.0.0.1:5263").await?;
    client.publish_batch("numbers", (0..1_000_000u32).map(|number| number.to_string())).await?;
    client.flush().await?;
    client.close().await?;
    Ok(())
}
