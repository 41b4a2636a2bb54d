//! `laneway sub`.

use std::future::{Future, pending, poll_fn};
use std::io::{self, Write as _};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use laneway_client::{Client, ConnectOptions, Item, Lost, SubscribeOptions, Subscription};
use laneway_proto::topic::check_filter;
use tokio::runtime::{Builder, Runtime};

use crate::args::{Format, Link, Subscribe};
use crate::broker::reach;
use crate::failure::Failure;
use crate::format::Printer;

/// How long the broker may take to say goodbye; by then everything asked for is printed.
const DRAIN: Duration = Duration::from_millis(500);

pub(crate) fn run(link: &Link, args: &Subscribe) -> Result<(), Failure> {
    check_options(args)?;
    for filter in &args.filters {
        check_filter(filter).map_err(|error| Failure::Usage(format!("the filter '{filter}': {error}")))?;
    }
    let runtime = runtime()?;
    let options = ConnectOptions::new().no_reconnect().drain(DRAIN);
    let client = reach(link, &options, |options, url| runtime.block_on(options.connect(url)))?;
    runtime.block_on(print(&client, args))
}

/// One thread is enough: there is one socket to read and one stream to write.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(Failure::failed)
}

fn check_options(args: &Subscribe) -> Result<(), Failure> {
    if args.no_newline && args.format != Format::Raw {
        return Err(Failure::Usage("--no-newline goes with --format raw only; leave one of them out".into()));
    }
    Ok(())
}

async fn print(client: &Client, args: &Subscribe) -> Result<(), Failure> {
    // Before anything can arrive: a signal from now on ends in order.
    let mut stop = pin!(stop_signal());
    // The handlers are there once it was polled.
    if poll_fn(|context| Poll::Ready(stop.as_mut().poll(context).is_ready())).await {
        let _ = client.close().await;
        return Ok(());
    }
    let filters: Vec<&str> = args.filters.iter().map(String::as_str).collect();
    let (lane, policy, retained) = (args.lane, args.policy, args.retained);
    let options = SubscribeOptions { lane, policy, retained, ..SubscribeOptions::default() };
    let mut subscription = client.subscribe_with(&filters, options).await.map_err(Failure::failed)?;
    if args.verbose {
        // Nobody has to listen.
        let _ = writeln!(io::stderr(), "subscribed");
    }
    let mut printer = Printer::new(io::stdout().lock(), args.format, !args.no_newline);
    let ended = loop {
        let item = match subscription.try_recv_item() {
            Some(item) => item,
            None => {
                printer.flush().map_err(|error| Failure::output(&error))?;
                match next(&mut subscription, stop.as_mut()).await {
                    Next::Item(item) => item,
                    Next::Stopped => break Ok(()),
                    Next::Lost(lost) => break Err(lost),
                }
            }
        };
        let printed = match item {
            Item::Message(message) => printer.message(&message),
            Item::Lost(report) => printer.lost(&report),
        };
        printed.map_err(|error| Failure::output(&error))?;
        if args.count == Some(printer.messages()) {
            break Ok(());
        }
    };
    printer.finish().map_err(|error| Failure::output(&error))?;
    ended.map_err(|lost| Failure::Failed(format!("{}: {lost}", client.remote_peer())))?;
    drop(subscription);
    // Everything asked for is printed; how the connection ends makes no difference.
    let _ = client.close().await;
    Ok(())
}

enum Next {
    Item(Item),
    Lost(Lost),
    Stopped,
}

/// The next message or report, or the end, whichever comes first.
async fn next(subscription: &mut Subscription, mut stop: Pin<&mut impl Future<Output = ()>>) -> Next {
    poll_fn(|context| {
        if stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(Next::Stopped);
        }
        subscription.poll_recv_item(context).map(|received| received.map_or_else(Next::Lost, Next::Item))
    })
    .await
}

/// Resolves when the user or the system asks the command to end.
async fn stop_signal() {
    let mut interrupt = pin!(async {
        // Without a handler the signal ends the process by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            pending::<()>().await;
        }
    });
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    poll_fn(|context| {
        #[cfg(unix)]
        if terminate.as_mut().is_some_and(|terminate| terminate.poll_recv(context).is_ready()) {
            return Poll::Ready(());
        }
        interrupt.as_mut().poll(context)
    })
    .await;
}
