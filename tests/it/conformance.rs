//! What every tier must do, done by ours.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use multi_tier_cached::testing::{conformance, faults, persistence, sharing};
use multi_tier_cached::{Disk, Memcached, Objects, Redis};
use testbed::directory::Directory;
use testbed::proxy::{NetworkFault, Proxy};
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

#[tokio::test]
async fn what_others_use_agrees() {
    let redis = Server::start();
    sharing(|| Box::new(Redis::new(redis.url()).required())).await;
    let memcached = testbed::memcached::Memcached::start();
    sharing(|| Box::new(Memcached::new(memcached.url()))).await;
}

#[tokio::test]
async fn what_outlives_its_process_forgets_what_was_invalidated() {
    let directory = Directory::new("persistence");
    persistence(|| Box::new(Disk::new(directory.path().join("disk")))).await;
    let files = directory.path().join("objects").display().to_string();
    let files = opendal::services::Fs::default().root(&files);
    let files = opendal::Operator::new(files).unwrap();
    persistence(|| Box::new(Objects::new(files.clone()))).await;
}

/// Silent, refusing, gone: none keeps anybody waiting.
#[tokio::test]
async fn a_server_that_is_cut_off_conforms() {
    let server = Server::start();
    for network_fault in [
        NetworkFault::BlackHole,
        NetworkFault::Deaf,
        NetworkFault::Cut,
    ] {
        let proxy = Proxy::to(server.port()).await;
        let redis = Redis::new(proxy.url())
            .namespace(format!("{network_fault:?}"))
            .required();
        let cut = async || {
            proxy.set(network_fault);
        };
        let mend = async || {
            proxy.set(NetworkFault::Fair);
        };
        faults(Box::new(redis), cut, mend).await;
    }
}

#[tokio::test]
async fn a_memcached_that_is_frozen_conforms() {
    let server = testbed::memcached::Memcached::start();
    let tier = Box::new(Memcached::new(server.url()));
    faults(tier, async || server.freeze(), async || server.thaw()).await;
}
