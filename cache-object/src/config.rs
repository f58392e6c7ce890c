//! The settings of the object tier.

use std::fmt;
use std::time::Duration;

use cache_core::tier::kit::{DurationRange, NameRule, SizeRange};
use cache_core::{Error, ErrorKind};
use opendal::Operator;

/// The names that every service accepts.
const PREFIX: NameRule = NameRule {
    max_bytes: usize::MAX,
    is_allowed: |c| c.is_ascii_alphanumeric() || "-_.=/".contains(c),
    allowed: "letters, digits and `-_.=`, in parts separated by `/`",
};

/// A prefix of an object storage as a tier. One instance uses it at a time.
///
/// ```no_run
/// use cache_core::{CacheRuntime, Memory};
/// use cache_object::Objects;
/// use cache_object::opendal::{Operator, services::Fs};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let operator = Operator::new(Fs::default().root("/mnt/bucket"))?;
/// CacheRuntime::builder()
///     .l1(Memory::builder())
///     .l4(Objects::new(operator).prefix("shop/instance-1"))
///     .install()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// Files need nothing more. For S3 and other services add [`opendal`] to your dependencies, in the
/// version that is re-exported here, with the feature of the service (`services-s3` and an HTTP
/// transport), and give its operator the layers you want.
///
/// **Use it for** large values that are very costly to load.
///
/// **Promises**: it is *private*, because an object storage does not announce invalidations. It is
/// fenced: a fill that an invalidation has overtaken is refused. If a function uses it alone or
/// under memory, records from before a restart are valid if the instance shut down in order, with
/// [`CacheRuntime::shutdown`](cache_core::CacheRuntime::shutdown). If the function also uses a
/// shared tier, records are valid only as long as their process lives. Records of a process that
/// was killed are discarded, because it is not known what it had invalidated and what it was
/// writing: the next instance waits until the prefix was unused for thirty seconds, while calls
/// continue without the tier, and begins with an empty store. So does an instance that lost its
/// prefix to another one and takes it back. Values with tags are stored only if the function also
/// uses a shared tier, because the prefix has no [ledger](cache_core::tier::Ledger); an expired
/// value is invalidated.
///
/// **Costs**: a hit reads one object, a fill writes one, the invalidation of a key deletes
/// one, and the invalidation of a function or of everything needs no request. Expired and void
/// records are [swept](Self::sweep_every) four times a day if the service can list; otherwise give
/// the storage a rule that removes objects older than your longest ttl.
#[derive(Clone)]
pub struct Objects {
    pub(crate) operator: Operator,
    pub(crate) prefix: String,
    pub(crate) time_limit: Duration,
    pub(crate) max_record_bytes: usize,
    pub(crate) sweep_every: Duration,
    pub(crate) required: bool,
}

impl Objects {
    /// Uses the storage of this operator, with the operator's layers (retries, timeouts, logs).
    #[must_use]
    pub fn new(operator: Operator) -> Self {
        Self {
            operator,
            prefix: "mtc".to_owned(),
            // An object storage answers within some ten to some hundred milliseconds.
            time_limit: Duration::from_secs(1),
            max_record_bytes: 32 << 20,
            // Void records only cost space, and a sweep costs a small read for each object.
            sweep_every: Duration::from_secs(6 * 60 * 60),
            required: false,
        }
    }

    /// Sets the prefix of all objects: letters, digits and `-_.=/`. Each instance needs a prefix of
    /// its own. Default: `mtc`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the time that one call may spend on the tier in all, besides its body. An invalidation
    /// waits as long, and so does each step of the
    /// [shutdown](cache_core::CacheRuntime::shutdown): pending invalidations, writes in progress, a
    /// heartbeat, and the epochs for the next owner. Default: 1 s.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// Sets the size of the largest record. A larger one is not stored here, and counted
    /// ([`TierStats::too_large`](cache_core::TierStats::too_large)). Default: 32 MiB.
    #[must_use]
    pub fn max_record_bytes(mut self, max_record_bytes: usize) -> Self {
        self.max_record_bytes = max_record_bytes;
        self
    }

    /// Sets the time between two sweeps, which delete expired records and those that are void after
    /// the invalidation of their function or of everything, or under an earlier history. Default: 6
    /// h; the first sweep comes 10 minutes after the start.
    ///
    /// A sweep lists the records and reads the first 32 bytes of each, one after the other, with a
    /// pause after every 64. If such reads cost more than the space, and the service has rules that
    /// remove objects older than your longest ttl, use [`Duration::MAX`], which disables sweeps. A
    /// service that cannot list is never swept.
    #[must_use]
    pub fn sweep_every(mut self, sweep_every: Duration) -> Self {
        self.sweep_every = sweep_every;
        self
    }

    /// Makes `install` fail if the storage cannot be used or another instance has the prefix. An
    /// instance that was killed has it for thirty more seconds. Default: a warning, and the tier is
    /// used once it can be.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let prefix = self.prefix.trim_end_matches('/');
        PREFIX.check("prefix", "object storage", prefix)?;
        if prefix
            .split('/')
            .any(|part| matches!(part, "" | "." | ".."))
        {
            let problem = format!(
                "prefix `{prefix}` of object storage is not valid: a part of it is empty, `.` or `..`"
            );
            return Err(Error::new(ErrorKind::Configuration, problem));
        }
        DurationRange::TIME_LIMIT.check("time limit of object storage", self.time_limit)?;
        SizeRange::new(1, u64::MAX).check(
            "maximum record size of object storage",
            self.max_record_bytes as u64,
        )?;
        DurationRange::INTERVAL.check(
            "time between two sweeps of object storage",
            self.sweep_every,
        )?;
        self.check_capabilities()
    }

    fn check_capabilities(&self) -> Result<(), Error> {
        let info = self.operator.info();
        let capability = info.capability();
        for (is_supported, what) in [
            (capability.read, "read"),
            (capability.write, "write"),
            (capability.delete, "delete"),
        ] {
            if !is_supported {
                let service = info.scheme().to_string();
                let problem =
                    format!("`{service}` cannot be used as object storage: it cannot {what}");
                return Err(Error::new(ErrorKind::Configuration, problem));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the operator, which may hold a secret.
        f.debug_struct("Objects")
            .field("prefix", &self.prefix)
            .field("time_limit", &self.time_limit)
            .field("max_record_bytes", &self.max_record_bytes)
            .field("sweep_every", &self.sweep_every)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}
