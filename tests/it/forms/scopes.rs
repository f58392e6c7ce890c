//! Expressions of `scope`: they have the value that they have inside the method, also if it depends
//! on the type of `self`.

use std::sync::Arc;

use multi_tier_cached::multi_tier_cached;
use testbed::Instance;

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
async fn scope_has_the_value_that_its_expression_has_in_the_method() {
    Instance::with_memory()
        .await
        .call(async {
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
