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
    /// Its how manieth life.
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

/// The functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Other instances may be behind by the bound.
    Bounded,
    /// None may.
    Strong,
    /// As the one with a bound, except on an instance that is cut off.
    Serving,
}

/// Which one reads an item.
#[must_use]
pub fn function_of(item: Item) -> Function {
    match item {
        STRONG..SLOW => Function::Strong,
        SERVING..PUT => Function::Serving,
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
        instance: u16,
        /// Which key.
        item: Item,
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
            Self::Load { instance, item, at } => write!(f, "L {instance} {item} {at}"),
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
            ["L", instance, item, at] => (|| {
                Some(Self::Load {
                    instance: instance.parse().ok()?,
                    item: item.parse().ok()?,
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
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let life = Life {
            instance: 3,
            number: 2,
        };
        let mut events = vec![
            Event::Read {
                life,
                item: 7,
                version: 9,
                strong: false,
                start: 1,
                end: 2,
            },
            Event::Read {
                life,
                item: 1007,
                version: 9,
                strong: true,
                start: 1,
                end: 2,
            },
            Event::Commit {
                item: 7,
                version: 9,
                at: 5,
            },
            Event::Load {
                instance: 1,
                item: 7,
                at: 6,
            },
        ];
        events.push(Event::Split(Split {
            start: 1,
            moved: 2,
            united: 3,
            end: 4,
            stay: 5,
        }));
        for kind in [Window::Calm, Window::Rest] {
            events.push(Event::Window {
                kind,
                start: 1,
                end: 9,
            });
        }
        for reached in [
            Reached::Acked,
            Reached::Queued,
            Reached::Dropped,
            Reached::Settled,
        ] {
            for scope in [Scope::One(4), Scope::FunctionOf(1004)] {
                events.push(Event::Invalidation {
                    life,
                    scope,
                    start: 1,
                    end: 3,
                    reached,
                });
            }
        }
        let text: String = events.iter().map(|event| format!("{event}\n")).collect();
        assert_eq!(parse(&text), events);
        assert_eq!(parse(&format!("{text}R 1 1 7 1 10 1")), events, "it is cut");
    }
}
