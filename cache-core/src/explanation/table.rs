//! The table of an explanation.

use std::fmt;
use std::time::Duration;

use super::{ExplainedTier, Explanation, NextCall, StaleReason, Verdict};
use crate::clock::unix_millis;
use crate::level::Level;

/// The width of the first column.
const NAME: usize = 12;
/// The width of the column with the verdicts.
const VERDICT: usize = 14;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (function, key, version) = (&self.function, &self.key, self.version);
        writeln!(f, "{function}  key {key}  version {version}")?;
        if let Some(problem) = &self.problem {
            writeln!(f, "{:NAME$} {problem}", "problem")?;
        }
        for tier in &self.tiers {
            write_tier(f, tier)?;
        }
        let flight = match self.flight {
            None => "none",
            Some(flight) if flight.has_body_ended => "the result of a load is being stored",
            Some(flight) if flight.has_waiters => "a load runs, and calls wait for it",
            Some(_) => "a load runs",
        };
        writeln!(f, "{:NAME$} {flight}", "flight")?;
        if self.is_guarded {
            writeln!(f, "{:NAME$} held by this instance", "write guard")?;
        }
        write!(f, "{:NAME$} {}", "a call now", self.next_call)?;
        let now = unix_millis();
        for (at, event) in self.events.iter().enumerate() {
            let title = if at == 0 { "events" } else { "" };
            let ago = Duration::from_millis(now.saturating_sub(event.unix_millis));
            let tier = event
                .tier
                .map(|tier| format!(", {tier}"))
                .unwrap_or_default();
            write!(f, "\n{title:NAME$} {} ago{tier}: {}", time(ago), event.kind)?;
        }
        Ok(())
    }
}

fn write_tier(f: &mut fmt::Formatter<'_>, tier: &ExplainedTier) -> fmt::Result {
    let name = format!("{} {}", tier.level, tier.kind);
    let details = details(tier).join(", ");
    let verdict = verdict(&tier.verdict);
    let row = format!("{name:NAME$} {verdict:VERDICT$} {details}");
    writeln!(f, "{}", row.trim_end())?;
    for line in further(tier) {
        writeln!(f, "{:NAME$} {line}", "")?;
    }
    Ok(())
}

/// Returns the details of what the tier has under the key.
fn details(tier: &ExplainedTier) -> Vec<String> {
    let mut details = Vec::new();
    match &tier.verdict {
        Verdict::FencedOff { by } => details.push(format!("{by} was invalidated since its load")),
        Verdict::Mismatch { of } => details.push(format!("another {of}")),
        Verdict::Unreachable { error } => details.push(error.clone()),
        _ => {}
    }
    if let Some(left) = tier.fresh_for {
        details.push(format!("fresh for {}", time(left)));
    }
    if let Some(since) = tier.stale_for {
        details.push(format!("not fresh for {}", time(since)));
    }
    if let Some(record) = &tier.record {
        let what = match record.is_copy {
            true => "copied",
            false => "stored",
        };
        details.push(format!("{what} {} ago", time(record.age)));
        details.push(format!("{} bytes", record.bytes));
        details.push(format!("its load took {}", time(record.load)));
    }
    if let Some(ttl) = tier.ttl {
        details.push(format!("ttl {}", time(ttl)));
    }
    details
}

/// Returns the lines about what is beside the record.
fn further(tier: &ExplainedTier) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(lease) = &tier.lease {
        let kind = match lease.exclusive {
            true => "exclusive",
            false => "shared",
        };
        let waited = match lease.waited {
            true => ", and calls wait for it",
            false => "",
        };
        let left = match lease.left {
            Some(left) => format!(", {} left", time(left)),
            None => String::new(),
        };
        lines.push(format!("lease {kind}{left}{waited}"));
    }
    if let Some(left) = tier.back_off {
        lines.push(format!("backed off for {} after a failed load", time(left)));
    }
    match tier.guards {
        Some(0) => {}
        Some(guards) => lines.push(format!("write guards {guards}")),
        // Of a tier that was not asked or did not answer, nothing is known.
        None if matches!(
            tier.verdict,
            Verdict::Unreachable { .. } | Verdict::Disabled
        ) => {}
        None => lines.push("write guards not known".to_owned()),
    }
    if let Some(channel) = &tier.channel {
        let coherent = match channel.coherent_for {
            Some(since) => format!("coherent for {}", time(since)),
            None => "not coherent".to_owned(),
        };
        let barrier = match channel.last_barrier {
            Some(since) => format!(", last barrier {} ago", time(since)),
            None => String::new(),
        };
        lines.push(format!("channel {coherent}{barrier}"));
    }
    lines
}

fn verdict(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Due => "due",
        Verdict::Stale => "stale",
        Verdict::NoValue => "no value",
        Verdict::KeptError => "kept error",
        Verdict::Expired => "expired",
        Verdict::FencedOff { .. } => "fenced off",
        Verdict::OtherEpoch => "other epoch",
        Verdict::OtherHistory => "other history",
        Verdict::UnknownStamp => "unknown stamp",
        Verdict::NotCoherent => "not coherent",
        Verdict::Damaged => "damaged",
        Verdict::Undecodable => "undecodable",
        Verdict::Mismatch { .. } => "mismatch",
        Verdict::Nothing => "nothing",
        Verdict::Absence => "absence",
        Verdict::Stopgap => "stopgap",
        Verdict::Pending => "pending",
        Verdict::PassedOver => "passed over",
        Verdict::Absent => "absent",
        Verdict::Unreachable { .. } => "unreachable",
        Verdict::Disabled => "disabled",
        Verdict::MemoryOnly => "memory only",
    }
}

impl fmt::Display for NextCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered {
                by,
                copied_to,
                stale,
                begins_load,
            } => {
                write!(f, "is answered by {by}")?;
                f.write_str(match stale {
                    None => "",
                    Some(StaleReason::Revalidated) => " with a stale value",
                    Some(StaleReason::BackedOff) => " with a stale value, because a load failed",
                })?;
                if !copied_to.is_empty() {
                    write!(f, ", and the value is copied to {}", list(copied_to))?;
                }
                match begins_load {
                    true => f.write_str("; it begins a load in the background"),
                    false => Ok(()),
                }
            }
            Self::Joins => f.write_str("waits for the load that runs on this instance"),
            Self::Waits { level } => write!(f, "waits for a load that holds the lease of {level}"),
            Self::Loads { is_kept, has_stale } => {
                f.write_str("runs the body")?;
                if !is_kept {
                    f.write_str(", and its value is not kept")?;
                }
                match has_stale {
                    true => f.write_str("; if that fails, it returns the stale value"),
                    false => Ok(()),
                }
            }
        }
    }
}

fn list(levels: &[Level]) -> String {
    let names: Vec<_> = levels.iter().map(Level::to_string).collect();
    names.join(", ")
}

/// A time in two units at most, such as `4m 48s`.
fn time(time: Duration) -> String {
    let two = |large: u64, of: &str, small: u64, and: &str| match small {
        0 => format!("{large}{of}"),
        small => format!("{large}{of} {small}{and}"),
    };
    match time.as_secs() {
        0 => format!("{}ms", time.as_millis()),
        seconds @ 1..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        seconds @ 3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        seconds => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_write_guards_that_is_not_known_is_not_shown_as_none() {
        let shown = |guards, verdict| {
            let tier = ExplainedTier {
                guards,
                ..ExplainedTier::new(Level::L2, verdict)
            };
            further(&tier)
        };
        assert_eq!(
            shown(None, Verdict::Absent),
            ["write guards not known".to_owned()]
        );
        assert_eq!(
            shown(Some(2), Verdict::Absent),
            ["write guards 2".to_owned()]
        );
        assert!(shown(Some(0), Verdict::Absent).is_empty());
        assert!(shown(None, Verdict::Disabled).is_empty());
    }
}
