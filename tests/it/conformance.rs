//! What every tier must do, done by ours.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use multi_tier_cached::testing::conformance;
use multi_tier_cached::{Disk, Memcached, Objects, Redis};
use testbed::directory::Directory;
use testbed::server::Server;

#[tokio::test]
async fn redis_conforms() {
    let server = Server::start();
    let numbers = AtomicU32::new(0);
    conformance(|| {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        Box::new(
            Redis::new(server.url())
                .namespace(format!("store-{number}"))
                .lease_time(Duration::from_millis(500))
                .required(),
        )
    })
    .await;
}

#[tokio::test]
async fn a_disk_conforms() {
    let directory = Directory::new("conformance");
    let numbers = AtomicU32::new(0);
    conformance(|| {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let disk = Disk::new(directory.path().join(number.to_string()));
        Box::new(disk.time_limit(Duration::from_secs(10)))
    })
    .await;
}

#[tokio::test]
async fn memcached_conforms() {
    let server = testbed::memcached::Memcached::start();
    let numbers = AtomicU32::new(0);
    conformance(|| {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        Box::new(Memcached::new(server.url()).namespace(format!("store-{number}")))
    })
    .await;
}

#[tokio::test]
async fn object_storage_conforms() {
    let operator = opendal::Operator::new(opendal::services::Memory::default()).unwrap();
    let directory = Directory::new("objects");
    let files = opendal::services::Fs::default().root(&directory.path().display().to_string());
    let files = opendal::Operator::new(files).unwrap();
    for operator in [operator, files] {
        let numbers = AtomicU32::new(0);
        conformance(|| {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            Box::new(Objects::new(operator.clone()).prefix(format!("stores/{number}")))
        })
        .await;
    }
}

/// As the example has it.
#[tokio::test]
async fn a_tier_of_your_own_conforms() {
    conformance(|| Box::new(crate::map::Map::default())).await;
}
