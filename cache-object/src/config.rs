use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::{Tier, TierBuilder, TierContext};
use cache_core::{Error, ErrorKind};
use opendal::Operator;

use crate::tier::ObjectTier;

/// A prefix of an object storage as a tier: `Objects::new(operator).prefix("shop/instance-1")`. One instance uses it at a time.
#[derive(Clone)]
pub struct Objects {
    pub(crate) operator: Operator,
    pub(crate) prefix: String,
    pub(crate) time_limit: Duration,
    pub(crate) max_record_bytes: usize,
}

impl Objects {
    /// What the operator leads to, with the layers that it has (retries, timeouts, logs).
    #[must_use]
    pub fn new(operator: Operator) -> Self {
        Self {
            operator,
            prefix: "mtc".to_owned(),
            // An object store answers within some ten milliseconds to some hundred.
            time_limit: Duration::from_secs(1),
            max_record_bytes: 32 << 20,
        }
    }

    /// Where its objects are: letters, digits and `-_.=/`. Default: `mtc`. Each instance has its own.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// What a call may spend on it beyond its body, in all. Default: 1 s. An invalidation waits for as long.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// Largest record that is written. Default: 32 MiB.
    #[must_use]
    pub fn max_record_bytes(mut self, max_record_bytes: usize) -> Self {
        self.max_record_bytes = max_record_bytes;
        self
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Configuration, format!("use {what}")));
        let prefix = self.prefix.trim_end_matches('/');
        let is_part = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte))
        };
        if !prefix.split('/').all(is_part) {
            return wrong(format!(
                "`{}` as a prefix of objects: it is letters, digits and `-_.=`, with `/` between",
                self.prefix
            ));
        }
        if self.time_limit.is_zero() {
            return wrong(
                "a time limit of zero for object storage: nothing would ever be read in time"
                    .into(),
            );
        }
        if self.max_record_bytes == 0 {
            return wrong("a record limit of zero bytes for object storage".into());
        }
        let capability = self.operator.info().capability();
        for (can, what) in [
            (capability.read, "read"),
            (capability.write, "write"),
            (capability.delete, "delete"),
        ] {
            if !can {
                let service = self.operator.info().scheme().to_string();
                return wrong(format!("`{service}` as object storage: it cannot {what}"));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the operator, which may know a secret.
        f.debug_struct("Objects")
            .field("prefix", &self.prefix)
            .field("time_limit", &self.time_limit)
            .field("max_record_bytes", &self.max_record_bytes)
            .finish_non_exhaustive()
    }
}

impl TierBuilder for Objects {
    fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        self.check()?;
        Ok(Arc::new(ObjectTier::new(*self)))
    }
}
