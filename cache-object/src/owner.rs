//! Which instance uses a prefix: an object that names the owner, rewritten by the owner every few
//! seconds.
//!
//! Two instances that use a prefix at once waste space, and do no other harm: each has a history of
//! its own, so no record of the one is valid for the other. Only an owner that leaves in order
//! hands its history on. So one rule must hold however slow, late or repeated a request is: **an
//! owner has at most one heir.**
//!
//! 1. An owner that leaves writes its epochs together with its last sign, the bytes that it last
//!    wrote into the owner object. They may be inherited only while the owner object holds exactly
//!    this sign, and no owner writes the sign of another.
//! 2. An instance that wants to inherit creates an object that is named by the sign and that can be
//!    created only once. If the service has no conditional writes, the instance writes its own sign
//!    into the owner object, waits for longer than any other may take from reading the object to
//!    having written it, and reads the object again.

use std::time::Duration;

use cache_core::unix_millis;
use opendal::{ErrorKind, Operator};
use tokio::time::{Instant, sleep};
use xxhash_rust::xxh3::xxh3_64;

/// The time between two heartbeats of an owner.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long an owner uses the prefix after its last successful heartbeat.
const HELD_FOR: Duration = Duration::from_secs(10);

/// How long the owner object must stay unchanged before another instance takes the prefix. By then
/// the owner has stopped using it, and its last [write](WRITE_LIMIT) has ended or been given up.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// The time limit of a write. The result of a write that takes longer is unknown.
pub(crate) const WRITE_LIMIT: Duration = Duration::from_secs(15);

/// How long an instance waits after it has written its sign without a condition. If several take
/// the prefix at once, the one whose sign is there after this time has it.
const AGREEMENT: Duration = Duration::from_secs(1);

/// The bytes that an owner writes into the owner object: its number, and a counter.
type Sign = [u8; 16];

/// The result of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The instance holds the prefix, as before, until this time.
    Kept(Instant),
    /// The instance holds the prefix from now on, until this time. Has the epochs of the last
    /// owner, if that left in order.
    Taken(Instant, Option<Vec<u8>>),
    /// Another instance holds the prefix.
    Other,
}

/// An instance that uses a prefix, or waits for it.
#[derive(Debug)]
pub(crate) struct Owner {
    prefix: String,
    /// A random number, a new one each time the instance takes the prefix.
    number: u64,
    /// The number of signs that this instance has made.
    signs: u64,
    /// While the instance holds the prefix, as far as it knows: the last sign whose write was
    /// confirmed, and when that heartbeat began.
    confirmed: Option<(Sign, Instant)>,
    /// The sign of another owner, and when it was first seen.
    seen: Option<(Vec<u8>, Instant)>,
    /// The sign whose only heir this instance is, and the epochs that it inherits.
    inheritance: Option<(Sign, Vec<u8>)>,
}

impl Owner {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            number: fastrand::u64(..),
            signs: 0,
            confirmed: None,
            seen: None,
            inheritance: None,
        }
    }

    /// Rewrites the owner object if this instance holds the prefix, or takes the prefix if that is
    /// allowed.
    ///
    /// # Cancel safety
    /// If this is dropped or fails, the object may have been written. The next heartbeat finds out.
    pub(crate) async fn heartbeat(&mut self, operator: &Operator) -> opendal::Result<Ownership> {
        let began = Moment::now();
        let found = read(operator, &self.path()).await?;
        let is_mine = found.as_ref().is_some_and(|found| self.is_mine(found));
        if let Some((sign, at)) = self.confirmed {
            // A sign of this instance that was never confirmed may have landed late, over the sign
            // of another owner. That is not possible within the silence, when no other can have
            // taken the prefix.
            let is_certain = found.as_deref() == Some(&sign) || at.elapsed() < SILENCE;
            if is_mine && is_certain {
                let sign = self.next_sign();
                operator.write(&self.path(), sign.to_vec()).await?;
                self.confirmed = Some((sign, began.instant));
                return Ok(Ownership::Kept(began.instant + HELD_FOR));
            }
            self.confirmed = None;
        }
        if let Some(found) = found.as_ref().filter(|_| !is_mine)
            && !self.inherits(operator, found, began).await?
            && !self.is_silent(found, began)
        {
            return Ok(Ownership::Other);
        }
        self.take(operator, found.is_none(), began).await
    }

    async fn take(
        &mut self,
        operator: &Operator,
        is_first: bool,
        began: Moment,
    ) -> opendal::Result<Ownership> {
        let is_conditional = operator.info().capability().write_with_if_not_exists;
        let creates = is_conditional && is_first;
        self.number = fastrand::u64(..);
        let sign = self.next_sign();
        let written = operator
            .write_with(&self.path(), sign.to_vec())
            .if_not_exists(creates)
            .await;
        match written {
            Ok(_) => {}
            Err(error) if creates && error.kind() == ErrorKind::ConditionNotMatch => {
                return Ok(Ownership::Other);
            }
            Err(error) => return Err(error),
        }
        if !is_conditional && began.is_before(AGREEMENT / 2) {
            // This took so long that another instance may have read the object before this sign was
            // there, and write its own after this one has looked again.
            self.inheritance = None;
        }
        if !creates && (!is_conditional || self.inheritance.is_none()) {
            sleep(AGREEMENT).await;
            if read(operator, &self.path()).await?.as_deref() != Some(&sign) {
                self.inheritance = None;
                return Ok(Ownership::Other);
            }
        }
        self.seen = None;
        self.confirmed = Some((sign, began.instant));
        let left = self.inheritance.take().map(|(_, left)| left);
        Ok(Ownership::Taken(began.instant + HELD_FOR, left))
    }

    /// Returns `true` if this instance holds the prefix, as far as it knows.
    pub(crate) fn is_owner(&self) -> bool {
        self.confirmed.is_some()
    }

    /// Leaves the prefix with the epochs for the next owner. Does nothing if this instance does not
    /// hold the prefix.
    pub(crate) async fn leave(
        &mut self,
        operator: &Operator,
        epochs: &[u8],
    ) -> opendal::Result<()> {
        let Some((sign, _)) = self.confirmed else {
            return Ok(());
        };
        let mut left = [&sign, epochs].concat();
        left.extend(xxh3_64(&left).to_le_bytes());
        operator.write(&left_path(&self.prefix), left).await?;
        self.confirmed = None;
        Ok(())
    }

    /// Returns `true` if the owner with this sign has left in order, and this instance is its heir.
    async fn inherits(
        &mut self,
        operator: &Operator,
        found: &[u8],
        began: Moment,
    ) -> opendal::Result<bool> {
        if self
            .inheritance
            .as_ref()
            .is_some_and(|(sign, _)| sign == found)
        {
            return Ok(true);
        }
        self.inheritance = None;
        let left = read(operator, &left_path(&self.prefix)).await?;
        let Some((sign, epochs)) = left.as_deref().and_then(parse_left) else {
            return Ok(false);
        };
        if sign != found {
            return Ok(false);
        }
        if operator.info().capability().write_with_if_not_exists {
            let claim = claim_path(&self.prefix, sign);
            let created = operator.write_with(&claim, sign.to_vec());
            match created.if_not_exists(true).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConditionNotMatch => return Ok(false),
                // A storage that can never create the claim must not keep this instance from
                // beginning with an empty store.
                Err(_) if self.is_silent(found, began) => return Ok(false),
                Err(error) => return Err(error),
            }
            // The claim of another heir may have been swept before this one was created.
            if began.is_before(HEARTBEAT) {
                return Ok(false);
            }
        }
        self.inheritance = Some((sign, epochs.to_vec()));
        Ok(true)
    }

    /// Returns `true` if the owner object has been unchanged for long enough.
    fn is_silent(&mut self, found: &[u8], began: Moment) -> bool {
        match &self.seen {
            Some((seen, since)) if seen == found => since.elapsed() >= SILENCE,
            _ => {
                self.seen = Some((found.to_vec(), began.instant));
                false
            }
        }
    }

    fn is_mine(&self, sign: &[u8]) -> bool {
        sign.starts_with(&self.number.to_le_bytes())
    }

    fn next_sign(&mut self) -> Sign {
        self.signs += 1;
        let number = u128::from(self.signs) << 64 | u128::from(self.number);
        number.to_le_bytes()
    }

    fn path(&self) -> String {
        format!("{}/owner", self.prefix)
    }
}

/// Returns the folder of the claims, which heirs create.
pub(crate) fn claims(prefix: &str) -> String {
    format!("{prefix}/heirs/")
}

/// Returns the path of the claim on the epochs that were left last.
pub(crate) async fn last_claim(
    operator: &Operator,
    prefix: &str,
) -> opendal::Result<Option<String>> {
    let left = read(operator, &left_path(prefix)).await?;
    let parsed = left.as_deref().and_then(parse_left);
    Ok(parsed.map(|(sign, _)| claim_path(prefix, sign)))
}

fn claim_path(prefix: &str, sign: Sign) -> String {
    format!("{}{:032x}", claims(prefix), u128::from_le_bytes(sign))
}

fn left_path(prefix: &str) -> String {
    format!("{prefix}/left")
}

/// Parses what an owner left: its last sign and its epochs. `None` if the bytes are not complete.
fn parse_left(left: &[u8]) -> Option<(Sign, &[u8])> {
    let (content, checksum) = left.split_last_chunk()?;
    let (sign, epochs) = content.split_first_chunk()?;
    (xxh3_64(content) == u64::from_le_bytes(*checksum)).then_some((*sign, epochs))
}

async fn read(operator: &Operator, path: &str) -> opendal::Result<Option<Vec<u8>>> {
    match operator.read(path).await {
        Ok(bytes) => Ok(Some(bytes.to_vec())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A moment by the monotonic and the wall clock. The monotonic clock may stand still while the
/// machine sleeps.
#[derive(Clone, Copy)]
struct Moment {
    instant: Instant,
    wall: u64,
}

impl Moment {
    fn now() -> Self {
        Self {
            instant: Instant::now(),
            wall: unix_millis(),
        }
    }

    /// Returns `true` if the moment is longer ago than this, by either clock.
    fn is_before(self, ago: Duration) -> bool {
        let by_wall = Duration::from_millis(unix_millis().saturating_sub(self.wall));
        self.instant.elapsed().max(by_wall) > ago
    }
}

#[cfg(test)]
mod tests;
