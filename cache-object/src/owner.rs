//! Who uses a prefix: an object that says who, changed every few seconds by whoever does.

use std::time::Duration;

use opendal::{ErrorKind, Operator};
use tokio::time::{Instant, sleep};

/// How often the owner says that it is there.
pub(crate) const BEAT: Duration = Duration::from_secs(5);

/// An owner that could not say so for that long stops using the prefix.
const HELD: Duration = Duration::from_secs(10);

/// Another takes it over when it has seen no change for that long: when the owner has stopped, and its last
/// [write](LONGEST_WRITE) has ended or been given up.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// After that it is not known what becomes of a write.
pub(crate) const LONGEST_WRITE: Duration = Duration::from_secs(15);

/// A prefix is this instance's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) until: Instant,
    /// It was not before, or another may have had it in between.
    pub(crate) is_new: bool,
}

/// One that uses a prefix, or waits for it.
#[derive(Debug)]
pub(crate) struct Owner {
    path: String,
    number: u64,
    beats: u64,
    /// As far as it knows.
    is_held: bool,
    /// What was there, and when it was seen first.
    seen: Option<(Vec<u8>, Instant)>,
}

impl Owner {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            path: format!("{prefix}/owner"),
            number: fastrand::u64(..),
            beats: 0,
            is_held: false,
            seen: None,
        }
    }

    /// Says that it is there, or takes the prefix over when it may. `None`: it is another's.
    pub(crate) async fn beat(&mut self, operator: &Operator) -> opendal::Result<Option<Held>> {
        let began = Instant::now();
        let there = match operator.read(&self.path).await {
            Ok(bytes) => Some(bytes.to_vec()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let number = self.number.to_le_bytes();
        let is_ours = there
            .as_ref()
            .is_some_and(|there| there.starts_with(&number));
        let is_free = there.is_none();
        if !is_ours {
            self.is_held = false;
        }
        if let Some(there) = there.filter(|_| !is_ours) {
            match &self.seen {
                Some((seen, since)) if *seen == there => {
                    if since.elapsed() < SILENCE {
                        return Ok(None);
                    }
                }
                _ => {
                    self.seen = Some((there, began));
                    return Ok(None);
                }
            }
        }
        self.beats += 1;
        let mut says = number.to_vec();
        says.extend(self.beats.to_le_bytes());
        let is_exclusive = is_free && operator.info().capability().write_with_if_not_exists;
        let written = operator
            .write_with(&self.path, says)
            .if_not_exists(is_exclusive)
            .await;
        match written {
            Ok(_) => {}
            Err(error) if is_exclusive && error.kind() == ErrorKind::ConditionNotMatch => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        if !is_ours && !is_exclusive {
            // Of two that take it at once the one has it that is there a while later.
            sleep(BEAT / 5).await;
            let there = operator.read(&self.path).await?.to_vec();
            if !there.starts_with(&number) {
                return Ok(None);
            }
        }
        self.seen = None;
        self.is_held = true;
        Ok(Some(Held {
            until: began + HELD,
            is_new: !is_ours,
        }))
    }

    /// Leaves it to the next at once.
    pub(crate) async fn leave(&mut self, operator: &Operator) -> opendal::Result<()> {
        if std::mem::take(&mut self.is_held) {
            operator.delete(&self.path).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opendal::services::Memory;

    use super::*;

    fn operator() -> Operator {
        Operator::new(Memory::default()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_prefix_is_one_instances_until_it_ends_or_says_nothing() {
        let operator = operator();
        let (mut first, mut second) = (Owner::new("p"), Owner::new("p"));
        assert!(first.beat(&operator).await.unwrap().unwrap().is_new);
        for _ in 0..10 {
            assert_eq!(second.beat(&operator).await.unwrap(), None, "it is in use");
            sleep(BEAT).await;
            assert!(!first.beat(&operator).await.unwrap().unwrap().is_new);
        }
        first.leave(&operator).await.unwrap();
        let held = second.beat(&operator).await.unwrap().expect("it is free");
        assert!(held.is_new);
        // It dies, and says nothing more.
        let died = Instant::now();
        while first.beat(&operator).await.unwrap().is_none() {
            assert!(died.elapsed() < SILENCE * 2);
            sleep(BEAT).await;
        }
        assert!(
            Instant::now() > held.until,
            "the one before may still use it"
        );
        assert_eq!(
            second.beat(&operator).await.unwrap(),
            None,
            "it was taken over"
        );
        // The one that took it has gone again: what it did in between is not known.
        first.leave(&operator).await.unwrap();
        assert!(second.beat(&operator).await.unwrap().unwrap().is_new);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_that_come_at_once_one_has_it() {
        for _ in 0..20 {
            let operator = operator();
            let (mut first, mut second) = (Owner::new("p"), Owner::new("p"));
            let (one, other) = tokio::join!(first.beat(&operator), second.beat(&operator));
            let have = [one.unwrap(), other.unwrap()].iter().flatten().count();
            assert_eq!(have, 1);
        }
    }
}
