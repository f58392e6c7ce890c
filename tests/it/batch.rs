//! Calls of several ids: which ids the body gets, and what the call returns.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::{Function, Level};
use testbed::counts::function_stats;
use testbed::server::Server;
use testbed::{Gate, Instance, assert_loads, assert_tier, until};

/// The bodies of one test: the ids of each call of the body.
#[derive(Clone, Default)]
struct Bodies(Arc<Mutex<Vec<Vec<u64>>>>);

impl Bodies {
    /// Notes a body that is called for `ids`, and returns the value `10 * id` of each.
    fn load(&self, ids: Vec<u64>) -> HashMap<u64, u64> {
        let values = ids.iter().map(|id| (*id, id * 10)).collect();
        self.0.lock().unwrap().push(ids);
        values
    }

    fn calls(&self) -> Vec<Vec<u64>> {
        self.0.lock().unwrap().clone()
    }
}

fn function(name: &'static str) -> Function<u64> {
    let builder = Function::<u64>::builder(name).ttl(Duration::from_secs(3600));
    builder.build().unwrap()
}

fn values(ids: impl IntoIterator<Item = u64>) -> HashMap<u64, u64> {
    ids.into_iter().map(|id| (id, id * 10)).collect()
}

#[tokio::test]
async fn body_gets_each_missing_id_once_in_the_order_of_the_caller() {
    let here = Instance::with_memory().await;
    let (tens, bodies) = (function("batch::order"), Bodies::default());
    let call = async |ids: &[u64]| {
        let body = async |ids| bodies.load(ids);
        let found: HashMap<u64, u64> = here
            .call(tens.get_or_load_many(ids, |id| (*id,), body))
            .await;
        found
    };
    assert_eq!(call(&[5, 3, 5, 9, 3]).await, values([3, 5, 9]));
    assert_eq!(call(&[9, 8, 5, 1]).await, values([1, 5, 8, 9]));
    assert_eq!(call(&[1, 3, 5, 8, 9]).await, values([1, 3, 5, 8, 9]));
    assert_eq!(bodies.calls(), [vec![5, 3, 9], vec![8, 1]]);
    let single = here.call(tens.get_or_load((8_u64,), || async { 0 })).await;
    assert_eq!(single, 80, "a call of one id has the same key");
    assert_loads(&here, "batch::order", 5).await;
    assert_tier(&here, "batch::order", Level::L1, |tier| tier.hits, 8).await;
}

#[tokio::test]
async fn call_without_ids_calls_nothing() {
    let here = Instance::with_memory().await;
    let tens = function("batch::empty");
    let body = async |_: Vec<u64>| -> HashMap<u64, u64> { panic!("the body runs") };
    let found = here
        .call(tens.get_or_load_many(&[], |id| (*id,), body))
        .await;
    assert_eq!(found, HashMap::new());
    assert!(function_stats(&here, "batch::empty").is_none());
}

#[tokio::test]
async fn every_form_of_result_has_the_values_of_its_ids() {
    let here = Instance::with_memory().await;
    let tens = function("batch::forms");
    let key = |id: &u64| (*id,);
    // 4 has no value, and 7 was not asked for.
    let pairs = |ids: Vec<u64>| {
        let values = ids.into_iter().filter(|id| *id != 4).chain([7]);
        values.map(|id| (id, id * 10))
    };
    let map: BTreeMap<u64, u64> = here
        .call(tens.get_or_load_many(&[1, 4], key, async |ids| pairs(ids).collect()))
        .await;
    assert_eq!(map, BTreeMap::from([(1, 10)]));
    let list: Vec<(u64, u64)> = here
        .call(tens.get_or_load_many(&[2, 4, 1, 2], key, async |ids| pairs(ids).collect()))
        .await;
    assert_eq!(list, [(2, 20), (1, 10)]);
    let in_order = async |ids: Vec<u64>| -> Result<Vec<Option<u64>>, String> {
        Ok(ids.iter().map(|id| (*id != 4).then_some(id * 10)).collect())
    };
    let found = here
        .call(tens.get_or_load_many(&[4, 3, 1, 3], key, in_order))
        .await;
    assert_eq!(found, Ok(vec![None, Some(30), Some(10), Some(30)]));
    let texts: HashMap<String, u64> = here
        .call(tens.get_or_load_many(
            &["a", "b"],
            |id| (*id,),
            async |ids: Vec<&str>| ids.into_iter().map(|id| (id.to_owned(), 1)).collect(),
        ))
        .await;
    assert_eq!(texts.len(), 2);
    assert_eq!(here.call(tens.entry((7_u64,)).peek()).await, None);
}

#[tokio::test]
#[should_panic(expected = "a batch returned 1 values for 2 ids")]
async fn list_of_another_length_is_a_panic() {
    let here = Instance::with_memory().await;
    let tens = function("batch::length");
    let body = async |_: Vec<u64>| vec![Some(1_u64)];
    here.call(tens.get_or_load_many(&[1_u64, 2], |id| (*id,), body))
        .await;
}

#[tokio::test]
async fn body_runs_for_a_thousand_ids_at_a_time() {
    let here = Instance::with_memory().await;
    let (tens, bodies) = (function("batch::most"), Bodies::default());
    let ids: Vec<u64> = (0..2500).collect();
    let body = async |ids| bodies.load(ids);
    let found = here
        .call(tens.get_or_load_many(&ids, |id| (*id,), body))
        .await;
    assert_eq!(found, values(0..2500));
    let lengths: Vec<usize> = bodies.calls().iter().map(Vec::len).collect();
    assert_eq!(lengths, [1000, 1000, 500]);
}

#[tokio::test]
async fn error_fails_the_whole_call_and_is_shared_with_calls_that_wait() {
    let here = Instance::with_memory().await;
    let builder = Function::<u64>::builder("batch::error").ttl(Duration::from_secs(3600));
    let tens = builder.share_error(String::clone).build().unwrap();
    let (gate, own) = (Arc::new(Gate::new()), Arc::new(AtomicU64::new(0)));
    let call = {
        let (tens, gate) = (tens.clone(), Arc::clone(&gate));
        async move {
            let body = async |_: Vec<u64>| -> Result<HashMap<u64, u64>, String> {
                gate.pass().await;
                Err("down".to_owned())
            };
            tens.get_or_load_many(&[1_u64, 2], |id| (*id,), body).await
        }
    };
    let batch = here.spawn(call);
    gate.until_entered(1).await;
    let single = {
        let (tens, own) = (tens.clone(), Arc::clone(&own));
        async move {
            let body = || async move {
                own.fetch_add(1, Ordering::SeqCst);
                Ok::<u64, String>(0)
            };
            tens.get_or_load((2_u64,), body).await
        }
    };
    let single = here.spawn(single);
    until("the single call waits", || {
        function_stats(&here, "batch::error").is_some_and(|stats| stats.waits == 1)
    })
    .await;
    gate.let_through(1);
    assert_eq!(batch.await.unwrap(), Err("down".to_owned()));
    assert_eq!(single.await.unwrap(), Err("down".to_owned()));
    assert_eq!(own.load(Ordering::SeqCst), 0);
    let body = async |_: Vec<u64>| Ok::<_, String>(values([1, 2]));
    let again = here
        .call(tens.get_or_load_many(&[1_u64, 2], |id| (*id,), body))
        .await;
    assert_eq!(again, Ok(values([1, 2])), "the error is not kept");
}

#[tokio::test]
async fn hundred_ids_cost_one_round_trip_in_redis_and_three_with_a_load() {
    let server = Server::start();
    // With this bound no barrier reads beside the calls.
    let redis =
        || multi_tier_cached::Redis::new(server.url()).staleness_bound(Duration::from_secs(60));
    let first = Instance::with_redis(redis()).await;
    let second = Instance::with_redis(redis()).await;
    let (tens, bodies) = (function("batch::trips"), Bodies::default());
    let call = async |here: &Instance, ids: std::ops::Range<u64>| {
        let ids: Vec<u64> = ids.collect();
        let body = async |ids| bodies.load(ids);
        let found = here
            .call(tens.get_or_load_many(&ids, |id| (*id,), body))
            .await;
        assert_eq!(found, values(ids));
    };
    call(&first, 0..100).await;
    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    call(&first, 100..200).await;
    let commands = |name: &str| server.calls(name);
    assert_eq!(
        commands("evalsha"),
        2,
        "one for the leases, one for the fills"
    );
    call(&second, 0..100).await;
    call(&second, 100..200).await;
    assert_eq!(commands("evalsha"), 2, "nothing but reads");
    assert_eq!(bodies.calls().len(), 2);
    let hits = |tier: &multi_tier_cached::TierStats| tier.hits;
    assert_tier(&second, "batch::trips", Level::L2, hits, 200).await;
}
