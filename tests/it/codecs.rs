//! Codecs and shapes: what a record was written as is what it is read as, or a miss.

use std::collections::BTreeMap;

use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, Level, Memory};
use serde::{Deserialize, Serialize};

use crate::log::Log;
use testbed::server::Server;
use testbed::two_tiers;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Before {
    width: u32,
    height: u32,
}

/// The next deployment's, its fields the other way round: the bytes of one decode as the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Before")]
struct After {
    height: u32,
    width: u32,
}

#[tokio::test]
async fn a_record_of_another_shape_is_a_miss_although_its_bytes_would_decode() {
    let server = Server::start();
    let before = Function::<Before>::builder("codecs::shape")
        .ttl(MINUTE)
        .build()
        .unwrap();
    CacheRuntime::scope(two_tiers(&server.url()).await, async {
        before
            .get_or_load((1,), || async {
                Before {
                    width: 1,
                    height: 2,
                }
            })
            .await
    })
    .await;
    drop(before);
    let after = Function::<After>::builder("codecs::shape")
        .ttl(MINUTE)
        .build()
        .unwrap();
    let runtime = two_tiers(&server.url()).await;
    let value = CacheRuntime::scope(runtime.clone(), async {
        after
            .get_or_load((1,), || async {
                After {
                    width: 1,
                    height: 2,
                }
            })
            .await
    })
    .await;
    assert_eq!(
        value,
        After {
            width: 1,
            height: 2
        }
    );
    let stats = runtime.stats();
    assert_eq!(
        stats
            .function("codecs::shape")
            .unwrap()
            .tier(Level::L2)
            .unwrap()
            .mismatches,
        1
    );
}

#[tokio::test]
async fn every_codec_serves_another_instance_and_none_reads_the_others() {
    let server = Server::start();
    let codecs = ["postcard", "json", "msgpack", "bincode"];
    for (round, codec) in codecs.into_iter().enumerate() {
        let function = Function::<Before>::builder("codecs::each")
            .ttl(MINUTE)
            .codec(codec)
            .build()
            .unwrap();
        for (instance, loads) in [(0, 1), (1, 0)] {
            let runtime = two_tiers(&server.url()).await;
            CacheRuntime::scope(runtime.clone(), async {
                let load = || async {
                    Before {
                        width: 7,
                        height: 8,
                    }
                };
                assert_eq!(
                    function.get_or_load((1,), load).await,
                    Before {
                        width: 7,
                        height: 8
                    }
                );
            })
            .await;
            let stats = runtime.stats();
            let stats = stats.function("codecs::each").unwrap();
            assert_eq!(stats.loads, loads, "{codec}, instance {instance}");
            let mismatches = u64::from(round > 0 && instance == 0);
            assert_eq!(
                stats.tier(Level::L2).unwrap().mismatches,
                mismatches,
                "{codec}"
            );
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[tokio::test]
async fn a_type_its_codec_cannot_read_back_stays_out_of_redis_and_is_said_once() {
    let server = Server::start();
    let log = Log::default();
    let _guard = log.capture();
    let function = Function::<Flat>::builder("codecs::flat")
        .ttl(MINUTE)
        .build()
        .unwrap();
    let runtime = two_tiers(&server.url()).await;
    CacheRuntime::scope(runtime, async {
        for n in 0..3 {
            let value = Flat {
                rest: BTreeMap::from([("a".into(), n)]),
            };
            assert_eq!(
                function.get_or_load((n,), || async { value.clone() }).await,
                value
            );
        }
    })
    .await;
    assert_eq!(server.records(), Vec::<String>::new());
    assert_eq!(log.lines("does not survive its codec"), 1);
    assert_eq!(log.lines("codecs::flat"), 1 + log.lines("cannot be traced"));
    // A codec that describes itself has no such restriction.
    drop(function);
    let function = Function::<Flat>::builder("codecs::flat")
        .ttl(MINUTE)
        .codec("json")
        .build()
        .unwrap();
    CacheRuntime::scope(two_tiers(&server.url()).await, async {
        function
            .get_or_load((1,), || async {
                Flat {
                    rest: BTreeMap::new(),
                }
            })
            .await
    })
    .await;
    assert_eq!(server.records().len(), 1);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Guess {
    Number(u64),
    Text(String),
}

#[tokio::test]
async fn a_type_whose_shape_cannot_be_traced_is_said_once() {
    let server = Server::start();
    let log = Log::default();
    let _guard = log.capture();
    let function = Function::<Guess>::builder("codecs::guess")
        .ttl(MINUTE)
        .codec("json")
        .build()
        .unwrap();
    for _ in 0..2 {
        let runtime = two_tiers(&server.url()).await;
        CacheRuntime::scope(runtime, async {
            for n in 0..3 {
                function
                    .get_or_load((n,), || async { Guess::Text("a".into()) })
                    .await;
            }
        })
        .await;
    }
    assert_eq!(log.lines("cannot be traced"), 2, "once in each runtime");
    assert_eq!(server.records().len(), 3);
}

#[tokio::test]
async fn an_unknown_codec_is_said_and_memory_serves() {
    let log = Log::default();
    let _guard = log.capture();
    let function = Function::<u64>::builder("codecs::unknown")
        .ttl(MINUTE)
        .codec("yaml")
        .build()
        .unwrap();
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .build()
        .await
        .unwrap();
    CacheRuntime::scope(runtime, async {
        assert_eq!(function.get_or_load((1,), || async { 1 }).await, 1);
        assert_eq!(function.get_or_load((1,), || async { 2 }).await, 1);
    })
    .await;
    assert_eq!(log.lines("`yaml`"), 1);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Skips {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<u8>,
    rest: Vec<(u8, u8)>,
}

/// A value whose bytes would be read back as another is not sent, be it the first of its type or a later one.
#[tokio::test]
async fn a_value_that_leaves_a_field_out_is_not_written_by_a_codec_that_needs_them_all() {
    let server = Server::start();
    let function = Function::<Skips>::builder("codecs::skips")
        .ttl(MINUTE)
        .build()
        .unwrap();
    let values = [
        Skips {
            note: Some(1),
            rest: vec![],
        },
        Skips {
            note: None,
            rest: vec![(5, 0)],
        },
    ];
    for _ in 0..2 {
        CacheRuntime::scope(two_tiers(&server.url()).await, async {
            for (n, value) in values.iter().enumerate() {
                assert_eq!(
                    function.get_or_load((n,), || async { value.clone() }).await,
                    *value
                );
            }
        })
        .await;
    }
    assert_eq!(server.records().len(), 1);
}

/// Once its type is known not to be written, too. What was there is dropped before, once.
#[tokio::test]
async fn what_is_put_and_cannot_be_written_tells_others_once_however_often() {
    let server = Server::start();
    let function = Function::<Skips>::builder("codecs::skips_put").ttl(MINUTE);
    let function = function.build().unwrap();
    let runtime = two_tiers(&server.url()).await;
    CacheRuntime::scope(runtime.clone(), async {
        let entry = function.entry((9,));
        let told = || -> u64 { server.command(&["GET", "{cache:0}:#sequence"]) };
        let before = told();
        for n in 1..4 {
            let value = Skips {
                note: None,
                rest: vec![(n, 0)],
            };
            entry.put(value).await.unwrap();
            testbed::until("nothing waits", || runtime.tiers()[0].health.queued == 0).await;
            assert_eq!(told(), before + u64::from(n));
        }
    })
    .await;
}
