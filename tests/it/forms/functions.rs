//! Free functions: arguments, patterns, early returns, lints, and names.

use multi_tier_cached::{invalidate, multi_tier_cached};
use testbed::Instance;

use super::count;

#[multi_tier_cached(ttl = "1h")]
async fn slices(names: &[&str], id: &u64, maybe: Option<&u64>) -> u64 {
    count() + names.len() as u64 + id + maybe.copied().unwrap_or_default()
}

#[multi_tier_cached(ttl = "1h")]
async fn patterns((a, [b, ..]): (u64, [u64; 3]), mut c: u64, _: bool) -> u64 {
    c += 1;
    count() + a + b + c
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
async fn free_function_of_every_form_is_cached() {
    let pool = std::sync::Mutex::new(5);
    assert_cached!(
        slices(&["a", "b"], &1, Some(&2)),
        patterns((1, [2, 3, 4]), 5, true),
        skipping(&pool, 1),
        early(0),
        early(7),
        r#type(1),
        no_arguments(),
    );
}

/// The `Self` of an item inside the body must not be treated as that of the function.
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
async fn function_whose_body_has_items_and_expects_a_lint_is_cached() {
    assert_cached!(nested_items(1));
}

mod elsewhere {
    use super::*;

    /// Attributes and docs must reach the generated function.
    #[multi_tier_cached(ttl = "1h")]
    #[must_use]
    pub(crate) async fn visible(id: u64) -> u64 {
        count() + id
    }
}

#[tokio::test]
async fn function_and_handle_work_under_another_name_and_by_path() {
    use elsewhere::visible as renamed;
    Instance::with_memory()
        .await
        .call(async {
            let first = renamed(1).await;
            invalidate!(renamed, 1).await.unwrap();
            assert_eq!(renamed::entry(1).peek().await, None);
            invalidate!(elsewhere::visible, 1).await.unwrap();
            assert_ne!(first, elsewhere::visible(1).await);
        })
        .await;
}

/// The error is not `Send`, which must not matter, because it is not kept across an await.
#[test]
fn call_is_send_when_its_body_is_although_its_error_is_not() {
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

#[derive(Clone, Debug, PartialEq)]
struct Borrowed<'a>(&'a str);

/// An error that borrows cannot be shared with waiters, and is returned to its own caller only.
#[multi_tier_cached(ttl = "1h")]
async fn parse<'a>(text: &'a str) -> Result<u64, Borrowed<'a>> {
    text.parse().map_err(|_| Borrowed(text))
}

#[tokio::test]
async fn error_that_borrows_from_an_argument_is_returned() {
    Instance::with_memory()
        .await
        .call(async {
            assert_eq!(parse("7").await, Ok(7));
            assert_eq!(parse("x").await, Err(Borrowed("x")));
        })
        .await;
}

#[expect(clippy::too_many_arguments, reason = "that is what is looked at")]
#[multi_tier_cached(ttl = "1h")]
async fn many(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u8 {
    a + b + c + d + e + f + g + h
}

#[tokio::test]
async fn function_of_eight_arguments_is_cached() {
    assert_cached!(many(1, 1, 1, 1, 1, 1, 1, 1));
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

#[tokio::test]
async fn key_template_may_come_from_a_macro() {
    assert_cached!(template_from_the_call(7));
}
