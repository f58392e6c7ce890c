//! Events as lines of text: a letter for the kind, then the fields, separated by spaces.

use std::fmt;
use std::str::FromStr;

use super::{By, Event, Life, Reached, Split, Window};
use crate::items::Scope;

const BY: [(By, &str); 5] = [
    (By::Call, "call"),
    (By::Batch, "batch"),
    (By::Peek, "peek"),
    (By::Strong, "strong"),
    (By::Refresh, "refresh"),
];

const REACHED: [(Reached, &str); 4] = [
    (Reached::Acked, "A"),
    (Reached::Queued, "Q"),
    (Reached::Dropped, "D"),
    (Reached::Settled, "S"),
];

const WINDOWS: [(Window, &str); 5] = [
    (Window::Calm, "calm"),
    (Window::Rest, "rest"),
    (Window::Quiet, "quiet"),
    (Window::Unreachable, "unreachable"),
    (Window::Evicting, "evicting"),
];

fn name_of<T: Copy + PartialEq>(value: T, names: &[(T, &'static str)]) -> &'static str {
    let found = names.iter().find(|(named, _)| *named == value);
    found.map_or("?", |(_, name)| name)
}

fn named<T: Copy>(name: &str, names: &[(T, &str)]) -> Option<T> {
    let found = names.iter().find(|(_, other)| *other == name);
    found.map(|(value, _)| *value)
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.instance, self.number)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Read {
                life,
                item,
                version,
                by,
                start,
                end,
            } => {
                let by = name_of(by, &BY);
                write!(f, "R {life} {item} {version} {by} {start} {end}")
            }
            Self::Invalidation {
                life,
                scope,
                start,
                end,
                reached,
            } => {
                let (kind, item) = match scope {
                    Scope::One(item) => ("k", item),
                    Scope::FunctionOf(item) => ("f", item),
                    Scope::Group(group) => ("t", group),
                };
                let reached = name_of(reached, &REACHED);
                write!(f, "I {life} {kind} {item} {start} {end} {reached}")
            }
            Self::Commit { item, version, at } => write!(f, "C {item} {version} {at}"),
            Self::Load { life, item, at } => write!(f, "L {life} {item} {at}"),
            Self::Call {
                life,
                item,
                start,
                end,
            } => write!(f, "A {life} {item} {start} {end}"),
            Self::Health {
                life,
                well,
                isolations,
                start,
                end,
            } => {
                let well = u8::from(well);
                write!(f, "H {life} {well} {isolations} {start} {end}")
            }
            Self::Panic { life, at } => write!(f, "X {life} {at}"),
            Self::Split(Split {
                start,
                moved,
                united,
                end,
                stay,
            }) => {
                write!(f, "P {stay} {start} {moved} {united} {end}")
            }
            Self::Window { kind, start, end } => {
                write!(f, "W {} {start} {end}", name_of(kind, &WINDOWS))
            }
        }
    }
}

/// A line that is no event, such as the last one of a process that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEvent;

/// Fields of a line, from left to right.
struct Fields<'a>(std::str::Split<'a, char>);

impl<'a> Fields<'a> {
    fn text(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn parse<T: FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    fn life(&mut self) -> Option<Life> {
        Some(Life {
            instance: self.parse()?,
            number: self.parse()?,
        })
    }

    fn scope(&mut self) -> Option<Scope> {
        match self.text()? {
            "k" => Some(Scope::One(self.parse()?)),
            "f" => Some(Scope::FunctionOf(self.parse()?)),
            "t" => Some(Scope::Group(self.parse()?)),
            _ => None,
        }
    }

    fn flag(&mut self) -> Option<bool> {
        match self.text()? {
            "1" => Some(true),
            "0" => Some(false),
            _ => None,
        }
    }

    /// Reads the fields in the order in which `Display` writes them.
    fn event(&mut self) -> Option<Event> {
        let event = match self.text()? {
            "R" => Event::Read {
                life: self.life()?,
                item: self.parse()?,
                version: self.parse()?,
                by: named(self.text()?, &BY)?,
                start: self.parse()?,
                end: self.parse()?,
            },
            "I" => Event::Invalidation {
                life: self.life()?,
                scope: self.scope()?,
                start: self.parse()?,
                end: self.parse()?,
                reached: named(self.text()?, &REACHED)?,
            },
            "C" => Event::Commit {
                item: self.parse()?,
                version: self.parse()?,
                at: self.parse()?,
            },
            "L" => Event::Load {
                life: self.life()?,
                item: self.parse()?,
                at: self.parse()?,
            },
            "A" => Event::Call {
                life: self.life()?,
                item: self.parse()?,
                start: self.parse()?,
                end: self.parse()?,
            },
            "H" => Event::Health {
                life: self.life()?,
                well: self.flag()?,
                isolations: self.parse()?,
                start: self.parse()?,
                end: self.parse()?,
            },
            "X" => Event::Panic {
                life: self.life()?,
                at: self.parse()?,
            },
            "P" => Event::Split(Split {
                stay: self.parse()?,
                start: self.parse()?,
                moved: self.parse()?,
                united: self.parse()?,
                end: self.parse()?,
            }),
            "W" => Event::Window {
                kind: named(self.text()?, &WINDOWS)?,
                start: self.parse()?,
                end: self.parse()?,
            },
            _ => return None,
        };
        // A line with more fields is two lines of which the first one was cut.
        self.text().is_none().then_some(event)
    }
}

impl FromStr for Event {
    type Err = NoEvent;

    fn from_str(line: &str) -> Result<Self, NoEvent> {
        Fields(line.split(' ')).event().ok_or(NoEvent)
    }
}

/// Returns the events of a text. A last line without its end is left out, because it may be cut.
#[must_use]
pub fn parse(text: &str) -> Vec<Event> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
