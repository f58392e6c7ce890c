//! Codecs and shapes: a record is read with the codec and the type that it was written with, or it
//! is a miss.

use std::collections::BTreeMap;
use std::time::Duration;

use multi_tier_cached::{Function, Level};
use serde::{Deserialize, Serialize};

use testbed::log::Log;
use testbed::server::Server;
use testbed::{Instance, assert_tier};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Before {
    width: u32,
    height: u32,
}

/// The type of the next deployment, with its fields in another order, so that the bytes of one
/// decode as the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Before")]
struct After {
    height: u32,
    width: u32,
}

#[tokio::test]
async fn record_of_another_shape_is_a_miss_although_its_bytes_would_decode() {
    let server = Server::start();
    let before = Function::<Before>::builder("codecs::shape")
        .ttl(MINUTE)
        .build()
        .unwrap();
    Instance::with_redis_at(&server.url())
        .await
        .call(async {
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
    let runtime = Instance::with_redis_at(&server.url()).await;
    let value = runtime
        .call(async {
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
    let function = "codecs::shape";
    assert_tier(&runtime, function, Level::L2, |tier| tier.mismatches, 1).await;
}

#[tokio::test]
async fn record_is_read_by_another_instance_with_its_codec_and_is_a_miss_with_another_codec() {
    let server = Server::start();
    let codecs = ["postcard", "json", "msgpack", "bincode"];
    for (round, codec) in codecs.into_iter().enumerate() {
        let function = Function::<Before>::builder("codecs::each")
            .ttl(MINUTE)
            .codec(codec)
            .build()
            .unwrap();
        for (instance, loads) in [(0, 1), (1, 0)] {
            let runtime = Instance::with_redis_at(&server.url()).await;
            runtime
                .call(async {
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
            let counted = stats.function("codecs::each").unwrap();
            let tier = counted.tier(Level::L2).unwrap();
            let mismatches = u64::from(round > 0 && instance == 0);
            assert_eq!(
                (counted.loads, tier.mismatches),
                (loads, mismatches),
                "{codec}, instance {instance}\n{stats}"
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
async fn value_that_its_codec_cannot_read_back_is_not_stored_in_redis_and_one_warning_is_logged() {
    let server = Server::start();
    let log = Log::default();
    let _guard = log.capture();
    let function = Function::<Flat>::builder("codecs::flat")
        .ttl(MINUTE)
        .build()
        .unwrap();
    let runtime = Instance::with_redis_at(&server.url()).await;
    runtime
        .call(async {
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
    assert_eq!(log.lines_with("does not survive its codec").len(), 1);
    assert_eq!(
        log.lines_with("codecs::flat").len(),
        1 + log.lines_with("cannot be traced").len()
    );
    // A self-describing codec can read such a type back.
    drop(function);
    let function = Function::<Flat>::builder("codecs::flat")
        .ttl(MINUTE)
        .codec("json")
        .build()
        .unwrap();
    Instance::with_redis_at(&server.url())
        .await
        .call(async {
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
async fn type_whose_shape_cannot_be_traced_is_stored_and_one_warning_is_logged_per_runtime() {
    let server = Server::start();
    let log = Log::default();
    let _guard = log.capture();
    let function = Function::<Guess>::builder("codecs::guess")
        .ttl(MINUTE)
        .codec("json")
        .build()
        .unwrap();
    for _ in 0..2 {
        let runtime = Instance::with_redis_at(&server.url()).await;
        runtime
            .call(async {
                for n in 0..3 {
                    function
                        .get_or_load((n,), || async { Guess::Text("a".into()) })
                        .await;
                }
            })
            .await;
    }
    assert_eq!(
        log.lines_with("cannot be traced").len(),
        2,
        "not one warning in each of the two runtimes"
    );
    assert_eq!(server.records().len(), 3);
}

#[tokio::test]
async fn function_with_an_unknown_codec_is_served_from_memory_and_one_warning_is_logged() {
    let log = Log::default();
    let _guard = log.capture();
    let function = Function::<u64>::builder("codecs::unknown")
        .ttl(MINUTE)
        .codec("yaml")
        .build()
        .unwrap();
    let runtime = Instance::with_memory().await;
    runtime
        .call(async {
            assert_eq!(function.get_or_load((1,), || async { 1 }).await, 1);
            assert_eq!(function.get_or_load((1,), || async { 2 }).await, 1);
        })
        .await;
    assert_eq!(log.lines_with("`yaml`").len(), 1);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Skips {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<u8>,
    rest: Vec<(u8, u8)>,
}

/// The bytes would be read back as another value. The check must be made for each value, not only
/// for the first of a type.
#[tokio::test]
async fn value_without_a_field_is_not_stored_by_a_codec_that_needs_every_field() {
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
        Instance::with_redis_at(&server.url())
            .await
            .call(async {
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

/// A value that was stored before must not remain, so each put invalidates the key, once, also when
/// the type is already known to be unwritable.
#[tokio::test]
async fn put_of_a_value_that_cannot_be_stored_invalidates_the_key_once_each_time() {
    let server = Server::start();
    let function = Function::<Skips>::builder("codecs::skips_put").ttl(MINUTE);
    let function = function.build().unwrap();
    let runtime = Instance::with_redis_at(&server.url()).await;
    runtime
        .call(async {
            let entry = function.entry((9,));
            // Number of messages on the channel, of which each invalidation is one.
            let messages = || -> u64 { server.command(&["GET", "{cache:0}:#sequence"]) };
            let before = messages();
            for n in 1..4 {
                let value = Skips {
                    note: None,
                    rest: vec![(n, 0)],
                };
                entry.put(value).await.unwrap();
                runtime.until_queue_is_empty().await;
                assert_eq!(messages(), before + u64::from(n), "put {n}");
            }
        })
        .await;
}
