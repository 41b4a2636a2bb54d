//! Hears its own message, without a runtime.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = laneway_client::blocking::connect("tcp://127.0.0.1:5263")?;
    let mut echoes = client.subscribe("echo")?;
    client.publish("echo", "hello")?;
    println!("{:?}", echoes.recv()?.payload);
    client.close()?;
    Ok(())
}
