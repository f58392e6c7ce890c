//! Functions of several ids as the attribute expands them, with what it refers to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::__private as private;
use testbed::{Instance, assert_loads, poll_once};
use tokio::sync::Semaphore;
use tokio::time::timeout;

type Users = Result<HashMap<u64, String>, String>;
type Item = <Users as private::BatchResult>::Item;

/// Number of bodies for the tenant 1.
static BODIES: AtomicU64 = AtomicU64::new(0);

async fn get_users(ids: &[u64], tenant: u32) -> Users {
    private::batch(
        get_users::__returns,
        ids,
        2,
        |item, id| get_users::__with_key(item, get_users::__returns, id, &tenant),
        |ids| {
            let tenant = Clone::clone(&tenant);
            async move { get_users::__body(&ids, tenant).await }
        },
    )
    .await
}

#[expect(non_camel_case_types, reason = "as the attribute names it")]
struct get_users {
    _never: Infallible,
}

#[expect(clippy::use_self, reason = "as the attribute writes it")]
impl get_users {
    fn entry(
        ids: &[u64],
        tenant: u32,
    ) -> private::BatchEntry<Users, u64, impl Future<Output = Users>> {
        private::batch_entry(
            get_users::__returns,
            ids,
            2,
            |item, id| get_users::__with_key(item, get_users::__returns, id, &tenant),
            |ids| {
                let tenant = Clone::clone(&tenant);
                async move { get_users::__body(&ids, tenant).await }
            },
        )
    }

    fn invalidation(ids: &[u64], tenant: u32) -> private::Invalidation {
        private::batch_invalidation(
            private::FunctionRef::new(get_users::__slot()).invalidate_all(),
            ids,
            |item, id| get_users::__with_key(item, get_users::__returns, id, &tenant),
        )
    }

    fn __with_key<S: private::CachedResult<Result = Item>, M: private::CallMode<S>>(
        mode: M,
        returned: S,
        ids: &u64,
        tenant: &u32,
    ) -> M::Output {
        mode.take(
            private::FunctionRef::new(get_users::__slot()),
            returned,
            |parts: &mut private::Parts<'_>| {
                parts.add(ids);
                parts.add(tenant);
            },
        )
    }

    #[expect(opaque_hidden_inferred_bound, reason = "as the attribute writes it")]
    fn __returns() -> impl private::CachedResult<Result = Item> {
        private::returns!(shared <Users as private::BatchResult>::Item)
    }

    fn __slot() -> &'static private::FunctionSlot {
        static SLOT: private::FunctionSlot = private::FunctionSlot::new(private::Definition {
            name: private::Cow::Borrowed("batch_expansion::get_users"),
            ttl: private::Ttl::everywhere(Duration::from_secs(300)),
            ..private::Definition::DEFAULT
        });
        &SLOT
    }

    async fn __body(ids: &[u64], tenant: u32) -> Users {
        if tenant == 1 {
            BODIES.fetch_add(1, Ordering::SeqCst);
        }
        match ids.contains(&99) {
            true => Err("no such user".to_owned()),
            false => Ok(ids
                .iter()
                .map(|id| (*id, format!("{tenant}:{id}")))
                .collect()),
        }
    }
}

/// The keys of the function of several ids, as one that is `same_as` it would use them.
async fn get_texts(ids: Vec<u64>, tenant: u32) -> Result<Vec<Option<String>>, String> {
    private::batch(
        get_users::__returns,
        &ids,
        1000,
        |item, id| get_users::__with_key(item, get_users::__returns, id, &tenant),
        |ids| async move { Ok(vec![None; ids.len()]) },
    )
    .await
}

async fn get_late(ids: &[u64], tenant: u32) -> Users {
    private::batch_late(
        get_users::__returns,
        ids,
        1000,
        |item, id| get_users::__with_key(item, get_users::__returns, id, &tenant),
        Clone::clone,
        || {
            let tenant = private::own(Clone::clone(&tenant));
            move |ids: Vec<_>| {
                let tenant = Clone::clone(&tenant);
                async move { get_users::__body(&ids, tenant).await }
            }
        },
    )
    .await
}

fn users(ids: &[u64]) -> HashMap<u64, String> {
    ids.iter().map(|id| (*id, format!("1:{id}"))).collect()
}

#[tokio::test]
async fn expansion_loads_invalidates_peeks_puts_and_refreshes() {
    let here = Instance::with_memory().await;
    let all = users(&[1, 2, 3]);
    assert_eq!(here.call(get_users(&[1, 2, 3], 1)).await, Ok(all.clone()));
    assert_eq!(
        BODIES.load(Ordering::SeqCst),
        2,
        "at most two ids for each body"
    );
    let texts = here.call(get_texts(vec![3, 9, 1], 1)).await.unwrap();
    assert_eq!(
        texts,
        [Some("1:3".to_owned()), None, Some("1:1".to_owned())]
    );
    assert_eq!(here.call(get_late(&[1, 2], 1)).await, Ok(users(&[1, 2])));
    assert_loads(&here, "batch_expansion::get_users", 4).await;

    here.invalidate(get_users::invalidation(&[1, 3], 1)).await;
    let peek = async || here.call(get_users::entry(&[1, 2, 3], 1).peek()).await;
    assert_eq!(peek().await, users(&[2]));

    let entry = get_users::entry(&[1, 3, 3], 1);
    let put = HashMap::from([(1, "put".to_owned()), (7, "not asked for".to_owned())]);
    here.call(entry.put(put)).await.unwrap();
    let expected = HashMap::from([(1, "put".to_owned()), (2, "1:2".to_owned())]);
    assert_eq!(peek().await, expected);
    assert_eq!(here.call(get_users::entry(&[7], 1).peek()).await.len(), 0);

    let refreshed = here
        .call(get_users::entry(&[1, 2, 1, 3], 1).refresh())
        .await;
    assert_eq!(refreshed, Ok(all.clone()));
    assert_eq!(peek().await, all);
    here.call(get_users::entry(&[1, 2], 1).invalidate())
        .await
        .unwrap();
    assert_eq!(peek().await, users(&[3]));

    let failed = here.call(get_late(&[4, 99], 1)).await;
    assert_eq!(failed, Err("no such user".to_owned()));
    let failed = here.call(get_users::entry(&[3, 99], 1).refresh()).await;
    assert_eq!(failed, Err("no such user".to_owned()));
    assert_eq!(
        peek().await,
        users(&[3]),
        "a refresh that fails leaves the values"
    );
}

/// Loads each id by a body of its own, which runs `before` first.
async fn get_one_by_one<B: Future<Output = Result<(), String>>>(
    ids: &[u64],
    tenant: u32,
    before: impl Fn(u64) -> B,
) -> Users {
    private::batch(
        get_users::__returns,
        ids,
        1,
        |item, id| get_users::__with_key(item, get_users::__returns, id, &tenant),
        |ids: Vec<u64>| {
            let before = before(ids[0]);
            async move {
                before.await?;
                get_users::__body(&ids, tenant).await
            }
        },
    )
    .await
}

/// The call leads the flight of the second id as well, which cannot end before the first body does.
#[tokio::test]
async fn body_that_calls_an_id_of_a_later_body_of_its_batch_ends() {
    let here = Instance::with_memory().await;
    let before = async |id: u64| {
        if id == 1 {
            assert_eq!(get_users(&[2], 2).await?.len(), 1);
        }
        Ok(())
    };
    let call = get_one_by_one(&[1, 2], 2, before);
    let ended = timeout(Duration::from_secs(20), here.call(call)).await;
    assert_eq!(ended.expect("the call ends").unwrap().len(), 2);
}

#[tokio::test]
async fn error_of_a_body_is_not_that_of_an_id_for_which_it_did_not_run() {
    let here = Instance::with_memory().await;
    let gate = Semaphore::new(0);
    let before = async |_| {
        let _permit = gate.acquire().await.expect("an open gate");
        Err("the first body failed".to_owned())
    };
    let mut failing = Box::pin(here.call(get_one_by_one(&[1, 2], 3, before)));
    assert!(poll_once(&mut failing).is_pending(), "its body waits");
    let mut waiting = Box::pin(here.call(get_users(&[2], 3)));
    assert!(
        poll_once(&mut waiting).is_pending(),
        "it waits for the flight"
    );
    gate.add_permits(1);
    assert_eq!(failing.await, Err("the first body failed".to_owned()));
    let found = waiting.await;
    assert_eq!(found, Ok(HashMap::from([(2, "3:2".to_owned())])));
    let stats = here.stats();
    assert_eq!(stats.functions[0].load_errors, 1, "of the first id");
}
