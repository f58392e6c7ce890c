//! What happened, one event a line.

use std::fmt;
use std::str::FromStr;

/// Microseconds of [`clock::now`](crate::clock::now).
pub type Micros = u64;

/// One life of an instance: killed and started again it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Life {
    /// The instance.
    pub instance: u16,
    /// Number of the life, counted from its first start.
    pub number: u16,
}

/// A key: an item of one of the functions.
pub type Item = u32;

/// Items from here on are read by the strong function.
pub const STRONG: Item = 1_000;

/// Items from here on take long to load.
pub const SLOW: Item = 2_000;

/// Items from here on are read by the function that goes on answering from memory when its instance is cut off.
pub const SERVING: Item = 3_000;

/// Items from here on are written by hand, each by one instance; the function with a bound reads them.
pub const PUT: Item = 4_000;

/// Items from here on are read by a function that uses memory alone.
pub const MEMORY: Item = 5_000;

/// Items from here on are loaded within the bodies of another function, and each load takes more than ten bounds.
pub const NESTED: Item = 6_000;

/// Items from here on fail with an error that calls cannot share.
pub const FAILING: Item = 7_000;

/// Items from here on are never invalidated. They are asked for when there is no fault.
pub const ASKED: Item = 10_000;

/// The functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Other instances may be behind by the bound.
    Bounded,
    /// None may.
    Strong,
    /// As the one with a bound, except on an instance that is cut off.
    Serving,
    /// It uses memory alone, so that only its own instance can invalidate it.
    Memory,
    /// A slow function that bodies of another function call.
    Nested,
    /// Each load fails.
    Failing,
    /// Its items are loaded once.
    Asked,
}

/// Which one reads an item.
#[must_use]
pub fn function_of(item: Item) -> Function {
    match item {
        STRONG..SLOW => Function::Strong,
        SERVING..PUT => Function::Serving,
        MEMORY..NESTED => Function::Memory,
        NESTED..FAILING => Function::Nested,
        FAILING..ASKED => Function::Failing,
        ASKED.. => Function::Asked,
        _ => Function::Bounded,
    }
}

/// Of an item, or of all of its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One item.
    One(Item),
    /// All that this item's function has.
    FunctionOf(Item),
}

impl Scope {
    /// Whether the item is in it.
    #[must_use]
    pub fn covers(self, item: Item) -> bool {
        match self {
            Self::One(one) => one == item,
            Self::FunctionOf(one) => function_of(one) == function_of(item),
        }
    }
}

/// How far an invalidation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It was acknowledged.
    Acked,
    /// It was queued.
    Queued,
    /// It was dropped before it returned.
    Dropped,
    /// No instance can answer with the old value any more.
    Settled,
}

/// An old primary lives on, and some instances with it: what is acknowledged there the others cannot know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// It has a replica no longer.
    pub start: Micros,
    /// All but those that stay reach the new one from now on.
    pub moved: Micros,
    /// None reaches the old one any more.
    pub united: Micros,
    /// All know of each other again.
    pub end: Micros,
    /// Instances below this one stay.
    pub stay: u16,
}

impl Split {
    /// Whether it lasts at that time.
    #[must_use]
    pub fn covers(&self, at: Micros) -> bool {
        (self.start..=self.end).contains(&at)
    }
}

/// What is looked at by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// No fault.
    Calm,
    /// All faults are over, and all that was queued was sent.
    Rest,
    /// No fault, right after some: the instances recover.
    Quiet,
    /// No instance can reach the server.
    Away,
    /// The server evicts records, so that a key may have to be loaded again. Other windows cover the same time.
    Evicting,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An instance's call was answered.
    Read {
        /// By whom.
        life: Life,
        /// Of which key.
        item: Item,
        /// What it was answered.
        version: u64,
        /// Whether it was to be current, without a bound.
        strong: bool,
        /// When the call began.
        start: Micros,
        /// When it was answered.
        end: Micros,
    },
    /// An instance's invalidation returned.
    Invalidation {
        /// By whom.
        life: Life,
        /// Of what.
        scope: Scope,
        /// When it was called.
        start: Micros,
        /// When it returned.
        end: Micros,
        /// What it said.
        reached: Reached,
    },
    /// The database has a new version.
    Commit {
        /// Of which key.
        item: Item,
        /// Which.
        version: u64,
        /// When.
        at: Micros,
    },
    /// The database was read.
    Load {
        /// By which instance.
        life: Life,
        /// Which key.
        item: Item,
        /// When.
        at: Micros,
    },
    /// A call returned, whatever its answer, where there was no fault.
    Call {
        /// Of which instance.
        life: Life,
        /// Of which key.
        item: Item,
        /// When it began.
        start: Micros,
        /// When it returned.
        end: Micros,
    },
    /// An instance reported its health.
    Health {
        /// Which instance.
        life: Life,
        /// Whether it said that it was well.
        well: bool,
        /// How often it was isolated by then.
        isolations: u64,
        /// When it was asked.
        start: Micros,
        /// When it answered.
        end: Micros,
    },
    /// Code in an instance panicked.
    Panic {
        /// In which instance.
        life: Life,
        /// When.
        at: Micros,
    },
    /// A time that is judged otherwise.
    Split(Split),
    /// A time of which more can be said.
    Window {
        /// How.
        kind: Window,
        /// From when.
        start: Micros,
        /// Until when.
        end: Micros,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read {
                life: Life { instance, number },
                item,
                version,
                strong,
                start,
                end,
            } => {
                let kind = if *strong { "S" } else { "R" };
                write!(
                    f,
                    "{kind} {instance} {number} {item} {version} {start} {end}"
                )
            }
            Self::Invalidation {
                life: Life { instance, number },
                scope,
                start,
                end,
                reached,
            } => {
                let (kind, item) = match scope {
                    Scope::One(item) => ("k", item),
                    Scope::FunctionOf(item) => ("f", item),
                };
                let reached = match reached {
                    Reached::Acked => "A",
                    Reached::Queued => "Q",
                    Reached::Dropped => "D",
                    Reached::Settled => "S",
                };
                write!(
                    f,
                    "I {instance} {number} {kind} {item} {start} {end} {reached}"
                )
            }
            Self::Commit { item, version, at } => write!(f, "C {item} {version} {at}"),
            Self::Load {
                life: Life { instance, number },
                item,
                at,
            } => write!(f, "L {instance} {number} {item} {at}"),
            Self::Call {
                life: Life { instance, number },
                item,
                start,
                end,
            } => write!(f, "A {instance} {number} {item} {start} {end}"),
            Self::Health {
                life: Life { instance, number },
                well,
                isolations,
                start,
                end,
            } => {
                let well = u8::from(*well);
                write!(f, "H {instance} {number} {well} {isolations} {start} {end}")
            }
            Self::Panic {
                life: Life { instance, number },
                at,
            } => write!(f, "X {instance} {number} {at}"),
            Self::Split(Split {
                start,
                moved,
                united,
                end,
                stay,
            }) => write!(f, "P {stay} {start} {moved} {united} {end}"),
            Self::Window { kind, start, end } => {
                let kind = match kind {
                    Window::Calm => "calm",
                    Window::Rest => "rest",
                    Window::Quiet => "quiet",
                    Window::Away => "away",
                    Window::Evicting => "evicting",
                };
                write!(f, "W {kind} {start} {end}")
            }
        }
    }
}

/// A line that is no event: the last of a process that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEvent;

impl FromStr for Event {
    type Err = NoEvent;

    fn from_str(line: &str) -> Result<Self, NoEvent> {
        let parts: Vec<_> = line.split(' ').collect();
        let life = |instance: &str, number: &str| {
            Some(Life {
                instance: instance.parse().ok()?,
                number: number.parse().ok()?,
            })
        };
        let event = match parts[..] {
            [
                kind @ ("R" | "S"),
                instance,
                number,
                item,
                version,
                start,
                end,
            ] => (|| {
                Some(Self::Read {
                    life: life(instance, number)?,
                    item: item.parse().ok()?,
                    version: version.parse().ok()?,
                    strong: kind == "S",
                    start: start.parse().ok()?,
                    end: end.parse().ok()?,
                })
            })(),
            ["I", instance, number, kind, item, start, end, reached] => (|| {
                let item = item.parse().ok()?;
                Some(Self::Invalidation {
                    life: life(instance, number)?,
                    scope: match kind {
                        "k" => Scope::One(item),
                        "f" => Scope::FunctionOf(item),
                        _ => return None,
                    },
                    start: start.parse().ok()?,
                    end: end.parse().ok()?,
                    reached: match reached {
                        "A" => Reached::Acked,
                        "Q" => Reached::Queued,
                        "D" => Reached::Dropped,
                        "S" => Reached::Settled,
                        _ => return None,
                    },
                })
            })(),
            ["C", item, version, at] => (|| {
                Some(Self::Commit {
                    item: item.parse().ok()?,
                    version: version.parse().ok()?,
                    at: at.parse().ok()?,
                })
            })(),
            ["L", instance, number, item, at] => (|| {
                Some(Self::Load {
                    life: life(instance, number)?,
                    item: item.parse().ok()?,
                    at: at.parse().ok()?,
                })
            })(),
            ["A", instance, number, item, start, end] => (|| {
                Some(Self::Call {
                    life: life(instance, number)?,
                    item: item.parse().ok()?,
                    start: start.parse().ok()?,
                    end: end.parse().ok()?,
                })
            })(),
            ["H", instance, number, well, isolations, start, end] => (|| {
                Some(Self::Health {
                    life: life(instance, number)?,
                    well: match well {
                        "1" => true,
                        "0" => false,
                        _ => return None,
                    },
                    isolations: isolations.parse().ok()?,
                    start: start.parse().ok()?,
                    end: end.parse().ok()?,
                })
            })(),
            ["X", instance, number, at] => (|| {
                Some(Self::Panic {
                    life: life(instance, number)?,
                    at: at.parse().ok()?,
                })
            })(),
            ["P", stay, start, moved, united, end] => (|| {
                Some(Self::Split(Split {
                    start: start.parse().ok()?,
                    moved: moved.parse().ok()?,
                    united: united.parse().ok()?,
                    end: end.parse().ok()?,
                    stay: stay.parse().ok()?,
                }))
            })(),
            ["W", kind, start, end] => (|| {
                Some(Self::Window {
                    kind: match kind {
                        "calm" => Window::Calm,
                        "rest" => Window::Rest,
                        "quiet" => Window::Quiet,
                        "away" => Window::Away,
                        "evicting" => Window::Evicting,
                        _ => return None,
                    },
                    start: start.parse().ok()?,
                    end: end.parse().ok()?,
                })
            })(),
            _ => None,
        };
        event.ok_or(NoEvent)
    }
}

/// The events of a text; a last line without its end is left out, since it may be cut.
#[must_use]
pub fn parse(text: &str) -> Vec<Event> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
