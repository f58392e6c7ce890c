//! A time without faults that follows some. The instances recover, then show that their caches
//! work.

use std::io;
use std::time::Duration;

use testbed::ask::ask;
use tokio::time::{Instant, sleep};

use crate::checker::LONGEST_RECOVERY;
use crate::clock;
use crate::fleet::Fleet;
use crate::history::{Event, Window};
use crate::instance::BOUND;
use crate::items::{FAILING, HOT_ITEMS, Item, NESTED, UNCHANGED};
use crate::servers::Servers;

/// Number of keys that are called in each quiet time. No other quiet time has the same ones.
const ITEMS: Item = 4;

/// Concurrent calls of a failing key in each instance.
const FAILING_CALLS: usize = 20;

/// Concurrent bodies in each instance that call the same slow function.
const NESTING_CALLS: usize = 10;

/// Waits until no fault lasts, and lets each instance show that its cache works.
///
/// Returns the time to judge.
///
/// # Errors
/// An instance does not do what it was asked to do.
pub async fn quiet(fleet: &Fleet, servers: &Servers, number: Item) -> io::Result<Event> {
    let _no_fault = fleet.gate.write().await;
    // A pause lasts longer than the command that began it.
    for port in servers.ports() {
        let _ = ask::<()>(port, &["CLIENT", "UNPAUSE"]).await;
    }
    let start = clock::now();
    // An instance notices within the bound what the fault did (a flush, for example). A report
    // before that may say that all is well, and the isolation that follows is no violation.
    sleep(BOUND).await;
    recover(fleet).await?;
    let first = UNCHANGED + HOT_ITEMS + number * ITEMS;
    for item in first..first + ITEMS {
        fleet.request(&format!("call {item}")).await?;
    }
    fail_everywhere(fleet).await?;
    fleet.request("well").await?;
    Ok(Event::Window {
        kind: Window::Quiet,
        start,
        end: clock::now(),
    })
}

/// Waits until each instance has reported that it is well.
///
/// # Errors
/// An instance does not do what it was asked to do.
pub async fn recover(fleet: &Fleet) -> io::Result<()> {
    let limit = Instant::now() + Duration::from_micros(LONGEST_RECOVERY);
    for instance in &fleet.instances {
        let mut instance = instance.lock().await;
        // If the instance does not recover in time, the checker judges the last report.
        while instance.request("well").await? != "well 1" && Instant::now() < limit {
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// Calls one failing key in all instances at once.
///
/// # Errors
/// An instance does not do what it was asked to do.
pub async fn fail_everywhere(fleet: &Fleet) -> io::Result<()> {
    let command = format!("fail {FAILING} {FAILING_CALLS}");
    fleet.request_at_once(&command).await
}

/// Lets bodies in all instances call one slow key that no instance has loaded yet.
///
/// # Errors
/// An instance does not do what it was asked to do.
pub async fn nest(fleet: &Fleet, number: Item) -> io::Result<()> {
    let command = format!("nest {} {NESTING_CALLS}", NESTED + number);
    fleet.send(&command).await
}

/// Waits until these bodies have returned.
///
/// # Errors
/// An instance does not do what it was asked to do.
pub async fn nested(fleet: &Fleet) -> io::Result<()> {
    fleet.request("nested").await
}
