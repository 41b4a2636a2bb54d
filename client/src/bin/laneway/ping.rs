//! `laneway ping`.

use std::io::{self, Write as _};
use std::time::Duration;

use laneway_client::{Client, ConnectOptions};
use tokio::time::{sleep, timeout};

use crate::args::{Link, Ping};
use crate::broker::reach;
use crate::failure::Failure;
use crate::subscribe::runtime;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(link: &Link, args: &Ping) -> Result<(), Failure> {
    let runtime = runtime()?;
    let options = ConnectOptions::new().no_reconnect();
    let client = reach(link, &options, |options, url| runtime.block_on(options.connect(url)))?;
    runtime.block_on(pings(&client, args))
}

async fn pings(client: &Client, args: &Ping) -> Result<(), Failure> {
    let broker = client.remote_peer();
    let (mut least, mut most, mut sum) = (Duration::MAX, Duration::ZERO, Duration::ZERO);
    for number in 1..=args.count {
        let rtt = match timeout(PATIENCE, client.ping()).await {
            Ok(answered) => answered.map_err(|error| Failure::Failed(format!("{broker}: {error}")))?,
            Err(_) => {
                let reason = format!("{broker}: no answer within {} s; is the broker overloaded?", PATIENCE.as_secs());
                return Err(Failure::Failed(reason));
            }
        };
        (least, most, sum) = (least.min(rtt), most.max(rtt), sum + rtt);
        say(&format!("pong from {broker}: number {number}, {}", microseconds(rtt)))?;
        if number < args.count {
            sleep(args.interval).await;
        }
    }
    let mean = Duration::from_nanos((sum.as_nanos() / u128::from(args.count)) as u64);
    say(&format!("least {}, mean {}, most {}", microseconds(least), microseconds(mean), microseconds(most)))?;
    // Everything asked for is printed; how the connection ends makes no difference.
    let _ = client.close().await;
    Ok(())
}

fn microseconds(span: Duration) -> String {
    format!("{:.1} us", span.as_secs_f64() * 1e6)
}

fn say(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}
