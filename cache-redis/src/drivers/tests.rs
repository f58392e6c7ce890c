use std::pin::pin;
use std::time::Duration;

use cache_core::Level;
use cache_core::tier::{Peers, TierContext};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::Redis;
use crate::errors::is_fatal;
use crate::tier::RedisTier;

const BOUND: Duration = Duration::from_secs(5);

/// A connection, its driver, and the server's end of it.
type Connected = (MultiplexedConnection, AbortHandle, DuplexStream);

/// Connects the link to a server that never responds.
async fn connect(drivers: &Drivers, generation: u64) -> Connected {
    connect_with_buffer(1 << 10, drivers, generation).await
}

/// Connects the link to a server that never responds. A write stalls after `buffer` bytes.
async fn connect_with_buffer(buffer: usize, drivers: &Drivers, generation: u64) -> Connected {
    let (ours, server) = duplex(buffer);
    // Nothing is sent at first, so the server need not respond.
    let info = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (connection, driver) = MultiplexedConnection::new_with_config(&info, ours, config)
        .await
        .unwrap();
    let driver = drivers.drive(generation, driver).expect("the link is open");
    (connection, driver, server)
}

async fn ping(connection: &MultiplexedConnection) -> Result<(), RedisError> {
    let mut connection = connection.clone();
    redis::cmd("PING").exec_async(&mut connection).await
}

/// Returns when the client has closed the connection.
async fn closed(mut server: DuplexStream) {
    let mut received = Vec::new();
    let read = timeout(BOUND, server.read_to_end(&mut received)).await;
    read.expect("the connection is closed").unwrap();
}

#[tokio::test]
async fn requests_fail_and_sockets_close_when_link_ends_although_clones_are_held() {
    let drivers = Drivers::default();
    drivers.open(1);
    let (connection, _, server) = connect(&drivers, 1).await;
    let held = connection.clone();
    let mut in_flight = pin!(ping(&connection));
    assert!(timeout(Duration::ZERO, &mut in_flight).await.is_err());
    drivers.end(1);
    let error = timeout(BOUND, in_flight).await.expect("it ends");
    assert!(is_fatal(&error.unwrap_err()));
    let error = timeout(BOUND, ping(&held)).await.expect("it ends");
    assert!(is_fatal(&error.unwrap_err()));
    closed(server).await;
}

#[tokio::test]
async fn end_of_earlier_link_keeps_drivers_of_later_link() {
    let drivers = Drivers::default();
    drivers.open(1);
    let (_first, _, old) = connect(&drivers, 1).await;
    drivers.open(2);
    closed(old).await;
    let (_second, driver, _server) = connect(&drivers, 2).await;
    drivers.end(1);
    assert!(drivers.drive(1, async {}).is_none());
    tokio::task::yield_now().await;
    assert!(!driver.is_finished());
}

#[tokio::test]
async fn no_driver_is_accepted_after_close() {
    let drivers = Drivers::default();
    drivers.open(1);
    let (_connection, _, server) = connect(&drivers, 1).await;
    drivers.close();
    closed(server).await;
    drivers.open(2);
    assert!(drivers.drive(2, async {}).is_none());
}

#[tokio::test]
async fn connection_of_operation_closes_when_operation_is_dropped_during_a_stalled_write() {
    let drivers = Drivers::default();
    drivers.open(1);
    let (connection, driver, server) = connect_with_buffer(4, &drivers, 1).await;
    let ended = driver.clone();
    let operation = async {
        let _driver = OwnDriver(driver);
        ping(&connection).await
    };
    assert!(timeout(Duration::ZERO, operation).await.is_err());
    drop(connection);
    let end = async {
        while !ended.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, end).await.expect("the driver ends");
    drop(server);
}

#[tokio::test]
async fn finished_drivers_do_not_accumulate() {
    let drivers = Drivers::default();
    drivers.open(1);
    for _ in 0..10 {
        let driver = drivers.drive(1, async {}).unwrap();
        while !driver.is_finished() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(drivers.lock().tasks.len(), 1);
}

/// A tier that is never connected.
fn unconnected() -> RedisTier {
    let redis = Redis::new("redis://127.0.0.1:1");
    let context = TierContext::new(Level::L2, Peers::none());
    redis.tiers(&[context]).unwrap().remove(0)
}

#[tokio::test]
async fn loss_of_link_ends_its_drivers_before_another_link_is_made() {
    let tier = unconnected();
    let drivers = &tier.session.drivers;
    drivers.open(1);
    let (_connection, _, server) = connect(drivers, 1).await;
    tier.session.lose(1);
    closed(server).await;
}

#[tokio::test]
async fn close_ends_drivers_of_link_that_is_being_made() {
    let tier = unconnected();
    let drivers = &tier.session.drivers;
    drivers.open(1);
    let (_connection, _, server) = connect(drivers, 1).await;
    tier.close();
    closed(server).await;
    drivers.open(2);
    assert!(drivers.drive(2, async {}).is_none());
}

#[test]
fn links_end_outside_of_a_runtime_and_after_it() {
    let drivers = Drivers::default();
    drivers.open(1);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let (ended, dropped) = oneshot::channel::<()>();
    let spawn = async {
        drivers.drive(1, async {
            let _ended = ended;
            std::future::pending().await
        })
    };
    let driver = runtime.block_on(spawn).unwrap();
    drivers.end(1);
    let end = runtime.block_on(async { timeout(BOUND, dropped).await });
    assert!(end.expect("the driver ends").is_err(), "it was dropped");
    drivers.open(2);
    let own = runtime.block_on(async { drivers.drive(2, std::future::pending()) });
    drop(runtime);
    drop((own.map(OwnDriver), OwnDriver(driver)));
    drivers.end(2);
    drivers.open(3);
    drivers.close();
    drop(drivers);
}
