//! A random test: instances one after the other, some of them killed, on a storage with random
//! faults, beside another instance that takes the prefix when it can. No invalidated record is ever
//! valid.

use fastrand::Rng;

use super::*;
use crate::owner::SILENCE;

const KEYS: u64 = 4;

/// One run of the test.
struct Run {
    storage: Storage,
    tier: Arc<ObjectTier>,
    other: Option<Arc<ObjectTier>>,
    /// The current value of each key.
    truth: [u8; KEYS as usize],
    /// The value of each key at its last invalidation. Older values must not be valid.
    floor: [u8; KEYS as usize],
    random: Rng,
    /// The number of valid records that were read.
    valid: usize,
    done: Vec<String>,
}

/// Returns one of the keys. Two functions have two keys each.
fn of(number: usize) -> RecordKey {
    let function = if number < 2 { "f" } else { "g" };
    key(function, number as u64)
}

impl Run {
    async fn new(seed: u64) -> Self {
        let storage = Storage::new();
        let mut random = Rng::with_seed(seed);
        if random.bool() {
            storage.faults.cannot_refuse();
        }
        Self {
            tier: storage.owner().await,
            storage,
            other: None,
            truth: [0; KEYS as usize],
            floor: [0; KEYS as usize],
            random,
            valid: 0,
            done: Vec::new(),
        }
    }

    fn any_key(&mut self) -> usize {
        self.random.usize(..KEYS as usize)
    }

    async fn load(&mut self, tier: &Arc<ObjectTier>) {
        let at = self.any_key();
        let mode = LeaseMode::Preempt;
        let Ok(LeaseResult::Granted(lease)) = tier.lease(&of(at), mode, &[], LIMIT).await else {
            return;
        };
        let value = vec![self.truth[at]];
        if self.random.u8(..4) == 0 {
            self.change(at).await;
        }
        let filled = tier.fill(&of(at), &lease, value, HOUR, LIMIT).await;
        self.done.push(format!("fill {at}: {filled:?}"));
    }

    async fn change(&mut self, at: usize) {
        self.truth[at] += 1;
        let key = of(at);
        let target = match self.random.u8(..6) {
            0 => Target::All,
            1 => Target::Function(&key.function),
            _ => Target::Key(&key),
        };
        let receipt = if self.random.u8(..5) == 0 {
            self.tier.invalidate_later(target);
            Ok(Receipt::Queued)
        } else {
            self.tier.invalidate(target, LIMIT).await
        };
        if receipt.is_ok() {
            self.floor[at] = self.truth[at];
        }
        self.done.push(format!("change {target:?}: {receipt:?}"));
    }

    fn disturb(&mut self) {
        use Fault::{Fails, Hangs, Late, Slow, Unanswered};
        use Operation::{Delete, Read, Write};
        let fault = self
            .random
            .choice([Fails, Unanswered, Hangs, Late, Late, Slow]);
        let operation = self.random.choice([Read, Write, Write, Delete]);
        let path = self
            .random
            .choice(["records", "records", "owner", "left", "heirs"]);
        let fault = (operation.unwrap(), path.unwrap(), fault.unwrap());
        self.storage.breaks(fault.0, fault.1, fault.2);
        self.done.push(format!("{fault:?}"));
    }

    async fn end(&mut self, tier: &ObjectTier) {
        let ended = match self.random.bool() {
            true => Some(tier.shutdown().await),
            false => None,
        };
        self.done.push(format!("end: {ended:?}"));
    }

    async fn check(&mut self) {
        for at in 0..KEYS as usize {
            let found = self.tier.read(&of(at), ReadOptions::default(), LIMIT).await;
            let Some(record) = found.ok().and_then(|found| found.record) else {
                continue;
            };
            let valid = self.storage.valid_now(&self.tier, &of(at)).await;
            self.valid += usize::from(valid);
            assert!(
                !valid || record[0] >= self.floor[at],
                "{at} is {record:?}, not {:?}: {:#?}",
                self.floor,
                self.done
            );
        }
    }

    async fn step(&mut self) {
        match self.random.u8(..17) {
            0..5 => self.load(&Arc::clone(&self.tier)).await,
            5..8 => {
                let at = self.any_key();
                self.change(at).await;
            }
            8 | 16 => self.disturb(),
            9 => self.storage.faults.clear(),
            10 => {
                let landed = self.storage.faults.land(&self.storage.sound).await;
                self.done.push(format!("{landed} landed"));
            }
            11 => sleep(SILENCE.mul_f32(self.random.f32() * 2.0)).await,
            12 => match self.other.take() {
                Some(other) => self.end(&other).await,
                None => {
                    let other = self.storage.tier().await;
                    self.done.push("another instance starts".to_owned());
                    self.other = Some(other);
                }
            },
            13 => {
                if let Some(other) = self.other.clone() {
                    self.done.push("by the other instance:".to_owned());
                    self.load(&other).await;
                }
            }
            // Only while it holds the prefix: otherwise its pending invalidations are lost with it.
            14 if self.tier.prefix().is_held() => {
                self.end(&Arc::clone(&self.tier)).await;
                self.tier = self.storage.tier().await;
            }
            _ => {}
        }
    }
}

impl Storage {
    async fn valid_now(&self, tier: &ObjectTier, key: &RecordKey) -> bool {
        let path = tier.prefix().store.path(key);
        let object = self.sound.read(&path).await.unwrap().to_vec();
        let stamp = tier.prefix().store.epochs.stamp(&key.function);
        Header::parse(&object).unwrap().stamp == stamp
    }
}

#[tokio::test(start_paused = true)]
async fn invalidated_records_are_never_valid_again() {
    let mut valid = 0;
    for seed in 0..300 {
        let mut run = Run::new(seed).await;
        for _ in 0..80 {
            run.step().await;
            run.check().await;
        }
        run.storage.faults.clear();
        run.other = None;
        sleep(SILENCE * 3).await;
        run.storage.faults.land(&run.storage.sound).await;
        run.check().await;
        valid += run.valid;
    }
    assert!(valid > 3000, "only {valid} valid records were read");
}
