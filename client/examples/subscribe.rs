//! Prints what is published below `sensors/`.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = laneway_client::connect("tcp://127.0.0.1:5263").await?;
    let mut readings = client.subscribe("sensors/#").await?;
    loop {
        let message = readings.recv().await?;
        println!("{} {:?}", message.topic, message.payload);
    }
}
