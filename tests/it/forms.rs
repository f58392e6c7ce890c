//! Every form of function that the attribute takes.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::Arc;

use multi_tier_cached::{CacheRuntime, invalidate, multi_tier_cached};
use serde::Serialize;
use serde::de::DeserializeOwned;

use testbed::server::Server;
use testbed::{memory_alone, two_tiers};

thread_local! {
    /// A test has a thread of its own.
    static LOADS: Cell<u64> = const { Cell::new(0) };
}

fn count() -> u64 {
    LOADS.replace(LOADS.get() + 1)
}

/// Runs on a runtime of its own; twice each, the second time from memory.
macro_rules! cached {
    ($($call:expr),+ $(,)?) => {{
        CacheRuntime::scope(memory_alone().await, async {
            $(
                let first = $call.await;
                let loads = LOADS.get();
                assert_eq!(first, $call.await, "{}", stringify!($call));
                assert_eq!(LOADS.get(), loads, "{} ran again", stringify!($call));
            )+
        })
        .await
    }};
}

#[multi_tier_cached(ttl = "1h")]
async fn slices(names: &[&str], id: &u64, maybe: Option<&u64>) -> u64 {
    count() + names.len() as u64 + id + maybe.copied().unwrap_or_default()
}

#[multi_tier_cached(ttl = "1h")]
async fn patterns((a, [b, ..]): (u64, [u64; 3]), mut c: u64, _: bool) -> u64 {
    c += 1;
    count() + a + b + c
}

#[multi_tier_cached(ttl = "1h")]
async fn generic<T, const N: usize>(id: u64) -> Result<[T; N], std::fmt::Error>
where
    T: Default + Copy + Clone + Send + Sync + Serialize + DeserializeOwned + 'static,
    [T; N]: Serialize + DeserializeOwned,
{
    count();
    let _ = id;
    Ok([T::default(); N])
}

#[multi_tier_cached(ttl = "1h")]
async fn opaque(id: impl Into<u64> + Serialize + Copy, label: impl AsRef<str> + Serialize) -> u64 {
    count() + id.into() + label.as_ref().len() as u64
}

#[multi_tier_cached(ttl = "1h", skip(pool), cache_if = |value| *value != 0)]
async fn skipping(pool: &std::sync::Mutex<u64>, id: u64) -> u64 {
    count();
    *pool.lock().unwrap() + id
}

#[multi_tier_cached(ttl = "1h")]
async fn early(id: u64) -> Result<u64, std::num::ParseIntError> {
    count();
    if id == 0 {
        return Ok(0);
    }
    let parsed: u64 = id.to_string().parse()?;
    Ok(parsed)
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn r#type(r#match: u64) -> u64 {
    count() + r#match
}

#[multi_tier_cached(ttl = "1h")]
async fn no_arguments() -> u64 {
    count()
}

#[tokio::test]
async fn free_functions() {
    let pool = std::sync::Mutex::new(5);
    cached!(
        slices(&["a", "b"], &1, Some(&2)),
        patterns((1, [2, 3, 4]), 5, true),
        generic::<u8, 3>(1),
        opaque(1u8, "a"),
        skipping(&pool, 1),
        early(0),
        early(7),
        r#type(1),
        no_arguments(),
    );
}

#[multi_tier_cached(ttl = "1h")]
async fn search(text: impl AsRef<str> + Serialize) -> String {
    count();
    text.as_ref().to_owned()
}

/// Written as the bare text, and yet not the same thing.
#[derive(Serialize)]
#[serde(transparent)]
struct Reversed(&'static str);

impl AsRef<str> for Reversed {
    fn as_ref(&self) -> &str {
        self.0.split_at(1).1
    }
}

/// An invalidation with a `&str` finds what a call with a `String` has kept; another type that serializes alike does not.
#[tokio::test]
async fn an_opaque_argument_is_one_key_whatever_points_at_it() {
    CacheRuntime::scope(memory_alone().await, async {
        assert_eq!(search("ab").await, "ab");
        let loads = LOADS.get();
        assert_eq!(search(String::from("ab")).await, "ab");
        assert_eq!(search(&&String::from("ab")).await, "ab");
        assert_eq!(LOADS.get(), loads);
        assert_eq!(search(Reversed("ab")).await, "b");
        assert_eq!(LOADS.get(), loads + 1);

        invalidate!(search, Box::<str>::from("ab")).await.unwrap();
        search(Reversed("ab")).await;
        assert_eq!(LOADS.get(), loads + 1);
        search("ab").await;
        assert_eq!(LOADS.get(), loads + 2);

        invalidate!(search).await.unwrap();
        search(Reversed("ab")).await;
        search("ab").await;
        assert_eq!(LOADS.get(), loads + 4);
    })
    .await;
}

#[tokio::test]
async fn every_instance_of_a_generic_function_has_keys_of_its_own() {
    CacheRuntime::scope(memory_alone().await, async {
        assert_eq!(generic::<u8, 2>(1).await, Ok([0u8; 2]));
        assert_eq!(generic::<u16, 2>(1).await, Ok([0u16; 2]));
        assert_eq!(generic::<u8, 3>(1).await, Ok([0u8; 3]));
        let loads = LOADS.get();
        invalidate!(generic::<u8, 2>, 1).await.unwrap();
        generic::<u8, 3>(1).await.unwrap();
        generic::<u16, 2>(1).await.unwrap();
        assert_eq!(LOADS.get(), loads);
        generic::<u8, 2>(1).await.unwrap();
        assert_eq!(LOADS.get(), loads + 1);
        invalidate!(generic::<u16, 2>).await.unwrap();
        generic::<u16, 2>(1).await.unwrap();
        assert_eq!(LOADS.get(), loads + 2);
        let stats = CacheRuntime::current().stats();
        assert!(
            stats.function("it::forms::generic<u16><2>").is_some(),
            "{stats}"
        );
    })
    .await;
}

#[derive(Debug)]
struct Repo<T> {
    tenant: u64,
    row: T,
}

impl<T: Debug + Clone + Send + Sync + 'static> Repo<T> {
    /// By what of `self` is in the key.
    #[multi_tier_cached(ttl = "1h", scope = self.tenant)]
    async fn by_scope(&self, id: u64) -> String {
        count();
        format!("{:?} {} {id}", self.row, self.tenant)
    }

    #[multi_tier_cached(ttl = "1h", skip(self))]
    async fn by_arc(self: Arc<Self>, id: u64) -> String {
        count();
        format!("{:?} {id}", self.row)
    }

    #[multi_tier_cached(ttl = "1h", key = "{self.tenant}:{id}", skip(note))]
    async fn by_template(&self, id: u64, note: &str) -> String {
        count();
        format!("{} {id} {note}", self.tenant)
    }

    #[multi_tier_cached(ttl = "1h", scope = Self)]
    async fn associated(id: u64) -> String {
        count();
        format!("{} {id}", std::any::type_name::<T>())
    }

    #[multi_tier_cached(ttl = "1h")]
    async fn says_self(id: u64) -> Option<u64> {
        count();
        (size_of::<Self>() > 0).then_some(id)
    }
}

#[tokio::test]
async fn methods_and_associated_functions() {
    let one = Arc::new(Repo {
        tenant: 1,
        row: 'a',
    });
    let two = Repo {
        tenant: 2,
        row: 'a',
    };
    cached!(
        one.by_scope(1),
        Arc::clone(&one).by_arc(1),
        one.by_template(1, "a"),
        Repo::<u8>::associated(1),
        Repo::<u8>::says_self(1),
    );
    CacheRuntime::scope(memory_alone().await, async {
        assert_ne!(
            one.by_scope(1).await,
            two.by_scope(1).await,
            "each tenant its own"
        );
        assert_eq!(
            one.by_template(1, "a").await,
            one.by_template(1, "b").await,
            "the note is not in the key"
        );
        assert_ne!(
            Repo::<u8>::associated(1).await,
            Repo::<u16>::associated(1).await,
            "each type its own"
        );
        let loads = LOADS.get();
        invalidate!(Repo::<char>::by_scope, &one, 1).await.unwrap();
        two.by_scope(1).await;
        assert_eq!(LOADS.get(), loads);
        one.by_scope(1).await;
        assert_eq!(LOADS.get(), loads + 1);
        assert!(Repo::by_scope_entry(&*one, 1).peek().await.is_some());
        invalidate!(Repo::<u8>::associated).await.unwrap();
        Repo::<u16>::associated(1).await;
        assert_eq!(LOADS.get(), loads + 1);
        Repo::<u8>::associated(1).await;
        assert_eq!(LOADS.get(), loads + 2);
    })
    .await;
}

#[async_trait::async_trait]
trait Store {
    async fn load(&self, id: u64, name: &str) -> Result<u64, String>;
}

struct Database(u64);

#[async_trait::async_trait]
impl Store for Database {
    #[multi_tier_cached(ttl = "1h", scope = self.0)]
    async fn load(&self, id: u64, name: &str) -> Result<u64, String> {
        count();
        let length: u64 = name.len().try_into().map_err(|_| "too long".to_owned())?;
        Ok(self.0 + id + length)
    }
}

trait Native {
    async fn get(&self, id: u64, pair: (u64, u64)) -> Option<u64>;
}

impl Native for Database {
    #[multi_tier_cached(ttl = "1h", scope = self.0, trait_impl)]
    async fn get(&self, mut id: u64, (a, _): (u64, u64)) -> Option<u64> {
        count();
        id += 1;
        Some(self.0 + id + a)
    }
}

#[tokio::test]
async fn methods_of_traits() {
    let database = Database(1);
    cached!(database.load(1, "a"), database.get(1, (2, 3)));
    CacheRuntime::scope(memory_alone().await, async {
        let dynamic: &dyn Store = &database;
        assert_eq!(dynamic.load(1, "ab").await, Ok(4));
        assert_eq!(Database(2).load(1, "ab").await, Ok(5));
    })
    .await;
}

trait Gross {
    async fn price(&self, id: u64) -> u64;
}

trait Net {
    async fn price(&self, id: u64) -> u64;
}

impl Gross for Database {
    #[multi_tier_cached(ttl = "1h", skip(self), trait_impl)]
    async fn price(&self, id: u64) -> u64 {
        id * 100
    }
}

impl Net for Database {
    #[multi_tier_cached(ttl = "1h", skip(self), trait_impl)]
    async fn price(&self, id: u64) -> u64 {
        id * 90
    }
}

/// In Redis too, whichever instance calls which first.
#[tokio::test]
async fn methods_of_one_name_in_two_traits_never_meet() {
    let server = Server::start();
    let database = Database(1);
    CacheRuntime::scope(two_tiers(&server.url()).await, async {
        assert_eq!(
            (
                Gross::price(&database, 1).await,
                Net::price(&database, 1).await
            ),
            (100, 90)
        );
    })
    .await;
    CacheRuntime::scope(two_tiers(&server.url()).await, async {
        assert_eq!(
            (
                Net::price(&database, 1).await,
                Gross::price(&database, 1).await
            ),
            (90, 100)
        );
    })
    .await;
    assert_eq!(server.records().len(), 2, "{:?}", server.records());
}

/// A body may hold items with a `Self` of their own, and expect a lint.
#[multi_tier_cached(ttl = "1h")]
#[expect(unused_variables, reason = "the lint is the body's")]
async fn nested_items(id: u64) -> u64 {
    struct Counter(u64);

    impl Counter {
        fn new() -> Self {
            Self(count())
        }
    }

    let unused = 1;
    Counter::new().0 + id
}

#[tokio::test]
async fn a_body_with_items_of_its_own() {
    cached!(nested_items(1));
}

mod elsewhere {
    use super::*;

    /// Documented, with lints of its own.
    #[multi_tier_cached(ttl = "1h")]
    #[must_use]
    pub(crate) async fn visible(id: u64) -> u64 {
        count() + id
    }
}

#[tokio::test]
async fn a_function_and_its_handle_go_by_any_name() {
    use elsewhere::visible as renamed;
    CacheRuntime::scope(memory_alone().await, async {
        let first = renamed(1).await;
        invalidate!(renamed, 1).await.unwrap();
        assert_eq!(renamed::entry(1).peek().await, None);
        invalidate!(elsewhere::visible, 1).await.unwrap();
        assert_ne!(first, elsewhere::visible(1).await);
        use Repo as Renamed;
        invalidate!(Renamed::<u8>::associated, 1).await.unwrap();
    })
    .await;
}

/// The future of a call is `Send` where the body's is, though its error is not.
#[test]
fn a_call_is_as_send_as_its_body() {
    #[multi_tier_cached(ttl = "1h")]
    async fn boxed_error(id: u64) -> Result<u64, Box<dyn std::error::Error>> {
        Ok(count() + id)
    }

    fn is_send<T: Send>(_: &T) {}
    is_send(&async {
        let _ = slices(&["a"], &1, None).await;
        let _ = boxed_error(1).await.is_ok();
    });
    is_send(&invalidate!(boxed_error, 1));
}

/// What is in the key is what the same expression is in the method: also where it depends on the type of `self`.
mod scopes {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Kind {
        A,
        B,
    }

    trait Name {
        fn name(&self) -> String;
    }

    impl Name for Kind {
        fn name(&self) -> String {
            format!("{self:?}")
        }
    }

    impl<T: Name> Name for &T {
        fn name(&self) -> String {
            "a reference".into()
        }
    }

    impl Kind {
        #[multi_tier_cached(ttl = "1h", scope = self.name())]
        async fn by_method(&self) -> String {
            format!("{self:?}")
        }

        #[multi_tier_cached(ttl = "1h", scope = *self as u8)]
        async fn by_cast(&self) -> String {
            format!("{self:?}")
        }

        #[multi_tier_cached(ttl = "1h", scope = std::ptr::from_ref(self).addr())]
        async fn by_address(&self) -> String {
            format!("{self:?}")
        }

        #[expect(clippy::needless_pass_by_ref_mut, reason = "that is what is looked at")]
        #[multi_tier_cached(ttl = "1h", scope = *self as u8 + 1)]
        async fn by_sum(&mut self) -> String {
            format!("{self:?}")
        }

        #[multi_tier_cached(ttl = "1h", scope = self.name(), key = "{ id }")]
        async fn by_template<const N: usize>(self: Arc<Self>, id: u64) -> String {
            format!("{self:?}{id}{N}")
        }
    }

    #[tokio::test]
    async fn scopes_mean_what_they_say() {
        CacheRuntime::scope(memory_alone().await, async {
            let mut kinds = [Kind::A, Kind::B];
            for kind in &mut kinds {
                let name = format!("{kind:?}");
                assert_eq!(kind.by_method().await, name);
                assert_eq!(kind.by_cast().await, name);
                assert_eq!(kind.by_address().await, name);
                assert_eq!(kind.by_sum().await, name);
                let shared = Arc::new(*kind);
                assert_eq!(shared.by_template::<3>(1).await, format!("{name}13"));
            }
        })
        .await;
    }

    macro_rules! keyed {
        ($name:ident, $key:literal) => {
            #[multi_tier_cached(ttl = "1h", key = $key)]
            async fn $name(id: u64) -> u64 {
                id
            }
        };
    }

    keyed!(template_from_the_call, "keyed:{id}");

    #[derive(Clone, Debug, PartialEq)]
    struct Borrowed<'a>(&'a str);

    /// An error may borrow, and be cloned; it is not shared then.
    #[multi_tier_cached(ttl = "1h")]
    async fn parse<'a>(text: &'a str) -> Result<u64, Borrowed<'a>> {
        text.parse().map_err(|_| Borrowed(text))
    }

    #[expect(clippy::too_many_arguments, reason = "that is what is looked at")]
    #[multi_tier_cached(ttl = "1h")]
    async fn many(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u8 {
        a + b + c + d + e + f + g + h
    }

    #[tokio::test]
    async fn lifetimes_templates_and_expectations() {
        CacheRuntime::scope(memory_alone().await, async {
            assert_eq!(template_from_the_call(7).await, 7);
            assert_eq!(parse("7").await, Ok(7));
            assert_eq!(parse("x").await, Err(Borrowed("x")));
            assert_eq!(many(1, 1, 1, 1, 1, 1, 1, 1).await, 8);
        })
        .await;
    }
}
