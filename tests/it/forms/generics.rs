//! Generic functions, and arguments of a type that the attribute does not see.

use multi_tier_cached::{CacheRuntime, invalidate, multi_tier_cached};
use serde::Serialize;
use serde::de::DeserializeOwned;
use testbed::Instance;

use super::{count, loads};

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

#[tokio::test]
async fn generic_function_and_function_with_opaque_arguments_are_cached() {
    assert_cached!(generic::<u8, 3>(1), opaque(1u8, "a"));
}

#[multi_tier_cached(ttl = "1h")]
async fn search(text: impl AsRef<str> + Serialize) -> String {
    count();
    text.as_ref().to_owned()
}

/// Serializes as the whole text, but returns only a part of it as a `str`.
#[derive(Serialize)]
#[serde(transparent)]
struct WithoutFirst(&'static str);

impl AsRef<str> for WithoutFirst {
    fn as_ref(&self) -> &str {
        self.0.split_at(1).1
    }
}

/// An invalidation with a `&str` must find what a call with a `String` has stored. Another type
/// that serializes to the same bytes is another key.
#[tokio::test]
async fn opaque_argument_has_one_key_for_all_pointers_to_a_type_and_another_for_another_type() {
    Instance::with_memory()
        .await
        .call(async {
            assert_eq!(search("ab").await, "ab");
            let before = loads();
            assert_eq!(search(String::from("ab")).await, "ab");
            assert_eq!(search(&&String::from("ab")).await, "ab");
            assert_eq!(loads(), before);
            assert_eq!(search(WithoutFirst("ab")).await, "b");
            assert_eq!(loads(), before + 1);

            invalidate!(search, Box::<str>::from("ab")).await.unwrap();
            search(WithoutFirst("ab")).await;
            assert_eq!(loads(), before + 1);
            search("ab").await;
            assert_eq!(loads(), before + 2);

            invalidate!(search).await.unwrap();
            search(WithoutFirst("ab")).await;
            search("ab").await;
            assert_eq!(loads(), before + 4);
        })
        .await;
}

#[tokio::test]
async fn each_choice_of_type_parameters_has_keys_of_its_own() {
    Instance::with_memory()
        .await
        .call(async {
            assert_eq!(generic::<u8, 2>(1).await, Ok([0u8; 2]));
            assert_eq!(generic::<u16, 2>(1).await, Ok([0u16; 2]));
            assert_eq!(generic::<u8, 3>(1).await, Ok([0u8; 3]));
            let before = loads();
            invalidate!(generic::<u8, 2>, 1).await.unwrap();
            generic::<u8, 3>(1).await.unwrap();
            generic::<u16, 2>(1).await.unwrap();
            assert_eq!(loads(), before);
            generic::<u8, 2>(1).await.unwrap();
            assert_eq!(loads(), before + 1);
            invalidate!(generic::<u16, 2>).await.unwrap();
            generic::<u16, 2>(1).await.unwrap();
            assert_eq!(loads(), before + 2);
            let stats = CacheRuntime::current().stats();
            assert!(
                stats
                    .function("it::forms::generics::generic<u16><2>")
                    .is_some(),
                "{stats}"
            );
        })
        .await;
}
