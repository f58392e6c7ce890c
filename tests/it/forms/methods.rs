//! Methods and associated functions.

use std::fmt::Debug;
use std::sync::Arc;

use multi_tier_cached::{invalidate, multi_tier_cached};
use testbed::Instance;

use super::{count, loads};

#[derive(Debug)]
struct Repo<T> {
    tenant: u64,
    row: T,
}

impl<T: Debug + Clone + Send + Sync + 'static> Repo<T> {
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

fn repo_of(tenant: u64) -> Arc<Repo<char>> {
    Arc::new(Repo { tenant, row: 'a' })
}

#[tokio::test]
async fn method_and_associated_function_of_every_form_are_cached() {
    let one = repo_of(1);
    assert_cached!(
        one.by_scope(1),
        Arc::clone(&one).by_arc(1),
        one.by_template(1, "a"),
        Repo::<u8>::associated(1),
        Repo::<u8>::says_self(1),
    );
}

#[tokio::test]
async fn scope_and_type_of_self_are_in_the_key_and_skipped_arguments_are_not() {
    let (one, two) = (repo_of(1), repo_of(2));
    Instance::with_memory()
        .await
        .call(async {
            let (of_one, of_two) = (one.by_scope(1).await, two.by_scope(1).await);
            assert_ne!(of_one, of_two, "the tenant is in the key");
            let (a, b) = (one.by_template(1, "a").await, one.by_template(1, "b").await);
            assert_eq!(a, b, "the note is not in the key");
            let bytes = Repo::<u8>::associated(1).await;
            let words = Repo::<u16>::associated(1).await;
            assert_ne!(bytes, words, "the type is in the key");
        })
        .await;
}

#[tokio::test]
async fn invalidation_of_a_method_affects_its_scope_and_its_type_only() {
    let (one, two) = (repo_of(1), repo_of(2));
    Instance::with_memory()
        .await
        .call(async {
            one.by_scope(1).await;
            two.by_scope(1).await;
            Repo::<u8>::associated(1).await;
            Repo::<u16>::associated(1).await;
            let before = loads();
            invalidate!(Repo::<char>::by_scope, &one, 1).await.unwrap();
            two.by_scope(1).await;
            assert_eq!(loads(), before, "the other tenant's value was dropped");
            one.by_scope(1).await;
            assert_eq!(loads(), before + 1);
            assert!(Repo::by_scope_entry(&*one, 1).peek().await.is_some());
            invalidate!(Repo::<u8>::associated).await.unwrap();
            Repo::<u16>::associated(1).await;
            assert_eq!(loads(), before + 1, "the other type's value was dropped");
            Repo::<u8>::associated(1).await;
            assert_eq!(loads(), before + 2);
        })
        .await;
}

#[tokio::test]
async fn invalidation_finds_a_type_under_another_name() {
    use Repo as Renamed;
    Instance::with_memory()
        .await
        .call(async {
            Repo::<u8>::associated(1).await;
            let before = loads();
            invalidate!(Renamed::<u8>::associated, 1).await.unwrap();
            Repo::<u8>::associated(1).await;
            assert_eq!(loads(), before + 1);
        })
        .await;
}
