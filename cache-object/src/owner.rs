//! Who uses a prefix: an object that says who, changed every few seconds by whoever does.
//!
//! Two that use a prefix at once do each other no harm but for the room: each has a history of its own, and nothing that was
//! stored under another counts. Only who leaves in order hands its history on. So one thing alone must hold however slow, late
//! or repeated a request is: **of one owner there is one heir at most**.
//!
//! 1. Who leaves writes what it hands on together with the bytes that it last wrote of itself. They are to be inherited only
//!    while exactly these stand in the owner's object; every owner writes others.
//! 2. Who would inherit makes an object that nobody can make twice, named by these bytes. Where the service cannot refuse to make
//!    an object twice, it writes itself, waits for longer than anybody may take from looking to having written, and looks again.

use std::time::Duration;

use cache_core::unix_millis;
use opendal::{ErrorKind, Operator};
use tokio::time::{Instant, sleep};
use xxhash_rust::xxh3::xxh3_64;

/// How often the owner says that it is there.
pub(crate) const BEAT: Duration = Duration::from_secs(5);

/// An owner that could not say so for that long stops using the prefix.
const HELD: Duration = Duration::from_secs(10);

/// Another takes it over when it has seen no change for that long: when the owner has stopped, and its last
/// [write](LONGEST_WRITE) has ended or been given up.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// After that it is not known what becomes of a write.
pub(crate) const LONGEST_WRITE: Duration = Duration::from_secs(15);

/// Of two that take a prefix at once, the one has it that is there that much later.
const AGREED: Duration = Duration::from_secs(1);

/// What an owner writes of itself: its number and how often it wrote before.
type Sign = [u8; 16];

/// What came of a beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// It is this one's, as before, until then.
    Kept(Instant),
    /// It is this one's from now on, until then; with what the one before left, if it left in order.
    Taken(Instant, Option<Vec<u8>>),
    /// It is another's.
    Anothers,
}

/// One that uses a prefix, or waits for it.
#[derive(Debug)]
pub(crate) struct Owner {
    prefix: String,
    /// Of the last time that it took the prefix.
    number: u64,
    beats: u64,
    /// While it has the prefix, as far as it knows: what it wrote last and was told to be written, and when that began.
    said: Option<(Sign, Instant)>,
    /// What was there of another, and when it was seen first.
    seen: Option<(Vec<u8>, Instant)>,
    /// Whose only heir it is, and what it has of it.
    heir: Option<(Sign, Vec<u8>)>,
}

impl Owner {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            number: fastrand::u64(..),
            beats: 0,
            said: None,
            seen: None,
            heir: None,
        }
    }

    /// Says that it is there, or takes the prefix over when it may.
    ///
    /// Dropped, or failed, it may have been written all the same; the next one sees to that.
    pub(crate) async fn beat(&mut self, operator: &Operator) -> opendal::Result<Beat> {
        let began = Moment::now();
        let there = read(operator, &self.path()).await?;
        let is_mine = there.as_ref().is_some_and(|there| self.is_mine(there));
        if let Some((said, at)) = self.said {
            // One that was not told to be written is there: it may have come late, over another's, once that could be.
            let is_certain = there.as_deref() == Some(&said) || at.elapsed() < SILENCE;
            if is_mine && is_certain {
                let says = self.next_sign();
                operator.write(&self.path(), says.to_vec()).await?;
                self.said = Some((says, began.instant));
                return Ok(Beat::Kept(began.instant + HELD));
            }
            self.said = None;
        }
        if let Some(there) = there.as_ref().filter(|_| !is_mine)
            && !self.inherits(operator, there, began).await?
            && !self.is_silent(there, began)
        {
            return Ok(Beat::Anothers);
        }
        self.take(operator, there.is_none(), began).await
    }

    async fn take(
        &mut self,
        operator: &Operator,
        is_first: bool,
        began: Moment,
    ) -> opendal::Result<Beat> {
        let can_refuse = operator.info().capability().write_with_if_not_exists;
        let is_alone = can_refuse && is_first;
        self.number = fastrand::u64(..);
        let says = self.next_sign();
        let written = operator
            .write_with(&self.path(), says.to_vec())
            .if_not_exists(is_alone)
            .await;
        match written {
            Ok(_) => {}
            Err(error) if is_alone && error.kind() == ErrorKind::ConditionNotMatch => {
                return Ok(Beat::Anothers);
            }
            Err(error) => return Err(error),
        }
        if !can_refuse && began.is_before(AGREED / 2) {
            // Another may have looked before this was there, and have written after it was looked for.
            self.heir = None;
        }
        if !is_alone && (!can_refuse || self.heir.is_none()) {
            sleep(AGREED).await;
            if read(operator, &self.path()).await?.as_deref() != Some(&says) {
                self.heir = None;
                return Ok(Beat::Anothers);
            }
        }
        self.seen = None;
        self.said = Some((says, began.instant));
        let left = self.heir.take().map(|(_, left)| left);
        Ok(Beat::Taken(began.instant + HELD, left))
    }

    /// Whether it has the prefix, as far as it knows.
    pub(crate) fn has_it(&self) -> bool {
        self.said.is_some()
    }

    /// Leaves it to the next at once, with what counts. Nothing, where it does not have it.
    pub(crate) async fn leave(&mut self, operator: &Operator, rest: &[u8]) -> opendal::Result<()> {
        let Some((said, _)) = self.said else {
            return Ok(());
        };
        let mut left = [&said, rest].concat();
        left.extend(xxh3_64(&left).to_le_bytes());
        operator.write(&left_path(&self.prefix), left).await?;
        self.said = None;
        Ok(())
    }

    /// Whether the owner that is there has left in order, and this one is its heir.
    async fn inherits(
        &mut self,
        operator: &Operator,
        there: &[u8],
        began: Moment,
    ) -> opendal::Result<bool> {
        if self.heir.as_ref().is_some_and(|(sign, _)| sign == there) {
            return Ok(true);
        }
        self.heir = None;
        let left = read(operator, &left_path(&self.prefix)).await?;
        let Some((sign, rest)) = left.as_deref().and_then(parts_of) else {
            return Ok(false);
        };
        if sign != there {
            return Ok(false);
        }
        if operator.info().capability().write_with_if_not_exists {
            let claim = claim(&self.prefix, sign);
            let made = operator.write_with(&claim, sign.to_vec());
            match made.if_not_exists(true).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConditionNotMatch => return Ok(false),
                // One that goes on doing so is no reason never to begin.
                Err(_) if self.is_silent(there, began) => return Ok(false),
                Err(error) => return Err(error),
            }
            // It may have been swept before it was made.
            if began.is_before(BEAT) {
                return Ok(false);
            }
        }
        self.heir = Some((sign, rest.to_vec()));
        Ok(true)
    }

    /// Whether what is there has not changed for long enough.
    fn is_silent(&mut self, there: &[u8], began: Moment) -> bool {
        match &self.seen {
            Some((seen, since)) if seen == there => since.elapsed() >= SILENCE,
            _ => {
                self.seen = Some((there.to_vec(), began.instant));
                false
            }
        }
    }

    fn is_mine(&self, there: &[u8]) -> bool {
        there.starts_with(&self.number.to_le_bytes())
    }

    fn next_sign(&mut self) -> Sign {
        self.beats += 1;
        let number = u128::from(self.beats) << 64 | u128::from(self.number);
        number.to_le_bytes()
    }

    fn path(&self) -> String {
        format!("{}/owner", self.prefix)
    }
}

/// Where those are who inherited.
pub(crate) fn claims(prefix: &str) -> String {
    format!("{prefix}/heirs/")
}

/// Where the heir is of what is left now.
pub(crate) async fn last_claim(
    operator: &Operator,
    prefix: &str,
) -> opendal::Result<Option<String>> {
    let left = read(operator, &left_path(prefix)).await?;
    let parts = left.as_deref().and_then(parts_of);
    Ok(parts.map(|(sign, _)| claim(prefix, sign)))
}

fn claim(prefix: &str, sign: Sign) -> String {
    format!("{}{:032x}", claims(prefix), u128::from_le_bytes(sign))
}

fn left_path(prefix: &str) -> String {
    format!("{prefix}/left")
}

/// Whose it is, and what it left; if these are whole.
fn parts_of(left: &[u8]) -> Option<(Sign, &[u8])> {
    let (whole, checksum) = left.split_last_chunk()?;
    let (sign, rest) = whole.split_first_chunk()?;
    (xxh3_64(whole) == u64::from_le_bytes(*checksum)).then_some((*sign, rest))
}

async fn read(operator: &Operator, path: &str) -> opendal::Result<Option<Vec<u8>>> {
    match operator.read(path).await {
        Ok(bytes) => Ok(Some(bytes.to_vec())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// By both clocks: the one that counts may have stood still while the machine slept.
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

    /// Whether it is longer ago than that.
    fn is_before(self, ago: Duration) -> bool {
        let by_wall = Duration::from_millis(unix_millis().saturating_sub(self.wall));
        self.instant.elapsed().max(by_wall) > ago
    }
}

#[cfg(test)]
mod tests;
