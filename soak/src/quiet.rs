//! A time without faults, after some: the instances recover and then show that their caches work.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::checker::LONGEST_RECOVERY;
use crate::clock;
use crate::faults::Cluster;
use crate::history::{ASKED, Event, FAILING, Item, NESTED, Window};
use crate::instance::{BOUND, HOT_ITEMS};
use crate::servers::{Servers, ask};

/// Keys that are asked for in each quiet time. No other time has the same ones.
const ITEMS: Item = 4;

/// Calls of a failing key at once, in each instance.
const FAILING_CALLS: usize = 20;

/// Bodies at once that call the same slow function, in each instance.
const NESTING_CALLS: usize = 10;

/// Waits until no fault lasts, lets each instance show that its cache works, and returns what to judge.
///
/// # Errors
/// An instance does not do as it is told.
pub async fn quiet(world: &Cluster, servers: &Servers, number: Item) -> io::Result<Event> {
    let _no_fault = world.gate.write().await;
    // A pause outlasts the command that began it.
    let _ = ask::<()>(servers.primary().port(), &["CLIENT", "UNPAUSE"]).await;
    let start = clock::now();
    // An instance notices within the bound what the fault did (a flush, for example). A report before
    // that may say that all is well, and the isolation that follows is no violation.
    sleep(BOUND).await;
    let limit = Instant::now() + Duration::from_micros(LONGEST_RECOVERY);
    for instance in &world.instances {
        let mut instance = instance.lock().await;
        // The checker judges the last report, if it comes too late.
        while instance.ask("well").await? != "well 1" && Instant::now() < limit {
            sleep(Duration::from_millis(20)).await;
        }
    }
    let first = ASKED + HOT_ITEMS + number * ITEMS;
    for item in first..first + ITEMS {
        for instance in &world.instances {
            instance.lock().await.ask(&format!("ask {item}")).await?;
        }
    }
    fail_everywhere(world).await?;
    for instance in &world.instances {
        instance.lock().await.ask("well").await?;
    }
    Ok(Event::Window {
        kind: Window::Quiet,
        start,
        end: clock::now(),
    })
}

/// Calls one failing key in all instances at once.
///
/// # Errors
/// An instance does not do as it is told.
pub async fn fail_everywhere(world: &Cluster) -> io::Result<()> {
    for instance in &world.instances {
        let command = format!("fail {FAILING} {FAILING_CALLS}");
        instance.lock().await.tell(&command).await?;
    }
    for instance in &world.instances {
        instance.lock().await.answer().await?;
    }
    Ok(())
}

/// Lets bodies in all instances call one slow key that no instance has loaded yet.
///
/// # Errors
/// An instance does not do as it is told.
pub async fn nest(world: &Cluster, number: Item) -> io::Result<()> {
    for instance in &world.instances {
        let command = format!("nest {} {NESTING_CALLS}", NESTED + number);
        instance.lock().await.tell(&command).await?;
    }
    Ok(())
}

/// Waits until these bodies have returned.
///
/// # Errors
/// An instance does not do as it is told.
pub async fn nested(world: &Cluster) -> io::Result<()> {
    for instance in &world.instances {
        instance.lock().await.ask("nested").await?;
    }
    Ok(())
}
