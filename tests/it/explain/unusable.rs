//! Verdicts on tiers that have no value which the function could use: what they have cannot be
//! decoded or is not kept any more, or the function does not use them.

use multi_tier_cached::{CacheRuntime, Function, Level, Memory, Redis, Verdict};
use serde::{Deserialize, Serialize};

use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Instance, assert_tier};

use super::{HOUR, answered, assert_loads, assert_next, builder, explain, load, loads, verdict};

/// A number that cannot be read back if it is odd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u64")]
struct Even(u64);

impl TryFrom<u64> for Even {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        match number % 2 {
            0 => Ok(Self(number)),
            _ => Err("it is odd"),
        }
    }
}

async fn load_even(
    instance: &Instance,
    function: &Function<Even>,
    (key, value): (i32, u64),
) -> u64 {
    let call = function.get_or_load((key,), || async move { Even(value) });
    instance.call(call).await.0
}

/// The first value that is stored shows that the type survives its codec.
#[tokio::test]
async fn record_whose_value_cannot_be_decoded_is_undecodable_and_a_call_loads() {
    let server = Server::start();
    let (writer, reader) = Instance::two_at(&server.url()).await;
    let name = "explain::undecodable";
    let function = Function::<Even>::builder(name).ttl(HOUR).build().unwrap();
    load_even(&writer, &function, (2, 2)).await;
    load_even(&writer, &function, (1, 7)).await;
    server.until_records(2).await;
    let entry = function.entry((1,));
    let explained = reader.call(entry.explain()).await;
    assert_eq!(
        verdict(&explained, Level::L2),
        &Verdict::Undecodable,
        "{explained}"
    );
    assert_next(&explained, loads);
    assert_eq!(load_even(&reader, &function, (1, 8)).await, 8);
    assert_tier(&reader, name, Level::L2, |tier| tier.decode_errors, 1).await;
}

#[tokio::test]
async fn values_that_do_not_survive_their_codec_are_in_memory_only() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.until_coherent().await;
    let name = "explain::memory_only";
    let function = Function::<Even>::builder(name).ttl(HOUR).build().unwrap();
    load_even(&here, &function, (2, 1)).await;
    assert_tier(&here, name, Level::L2, |tier| tier.unwritable, 1).await;
    let entry = function.entry((1,));
    let explained = here.call(entry.explain()).await;
    assert_eq!(verdict(&explained, Level::L1), &Verdict::Absent);
    assert_eq!(
        verdict(&explained, Level::L2),
        &Verdict::MemoryOnly,
        "{explained}"
    );
    assert_next(&explained, loads);
    assert_eq!(load_even(&here, &function, (1, 8)).await, 8);
    assert_tier(&here, name, Level::L2, |tier| tier.unwritable, 2).await;
    assert_next(&here.call(entry.explain()).await, answered(Level::L1, &[]));
    assert!(server.records().is_empty());
}

#[tokio::test]
async fn record_of_no_value_answers_a_call_only_while_the_function_keeps_absence() {
    let server = Server::start();
    let (writer, reader) = Instance::two_at(&server.url()).await;
    let keeps = builder("explain::absence").none_ttl(HOUR).build().unwrap();
    let none = keeps.get_or_load((1,), || async { None::<u64> });
    assert_eq!(writer.call(none).await, None);
    server.until_records(1).await;
    reader.until_coherent().await;
    let explained = explain(&reader, &keeps).await;
    assert_eq!(verdict(&explained, Level::L2), &Verdict::NoValue);
    assert_next(&explained, answered(Level::L2, &[Level::L1]));
    let some = keeps.get_or_load((1,), || async { Some(7_u64) });
    assert_eq!(reader.call(some).await, None);

    drop(keeps);
    let later = Instance::with_redis_at(&server.url()).await;
    let function = builder("explain::absence").build().unwrap();
    let explained = explain(&later, &function).await;
    assert_eq!(
        verdict(&explained, Level::L2),
        &Verdict::Absence,
        "{explained}"
    );
    assert_loads(&later, &function, &explained).await;
}

#[tokio::test]
async fn tier_that_an_override_has_disabled_is_named_and_its_record_answers_no_call() {
    let (server, directory) = (Server::start(), Directory::new("explain_overrides"));
    let name = "explain::disabled";
    std::fs::create_dir_all(directory.path()).unwrap();
    let file = directory.path().join("functions.toml");
    std::fs::write(&file, format!("[functions.\"{name}\"]\ntiers = \"l1\"")).unwrap();
    let overridden = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(server.url()))
        .functions_file(&file);
    let overridden = Instance::build(overridden).await;
    let other = Instance::with_redis_at(&server.url()).await;
    let function = builder(name).build().unwrap();
    load(&other, &function, 7).await;
    server.until_records(1).await;
    let explained = explain(&overridden, &function).await;
    assert_eq!(
        verdict(&explained, Level::L2),
        &Verdict::Disabled,
        "{explained}"
    );
    assert_eq!(verdict(&explained, Level::L1), &Verdict::Absent);
    assert_loads(&overridden, &function, &explained).await;
}
