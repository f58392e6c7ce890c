//! The statistics as tables.
//!
//! The columns of functions with windows, timeouts and kept results appear only if one of them is
//! not zero, so that a program without such functions sees one small table.

use std::fmt;

use super::report::sum;
use super::{FunctionStats, Stats};

/// A column of the third table: its heading, and the counter that it shows.
type Column = (&'static str, fn(&FunctionStats) -> u64);

const COLUMNS: [Column; 9] = [
    ("refreshes", |function| function.refreshes),
    ("failed", |function| function.refresh_errors),
    ("stale on err", |function| function.stale_on_error),
    ("backed off", |function| function.backed_off),
    ("timeouts", |function| function.timeouts),
    ("abandoned", |function| function.abandoned),
    ("shed", |function| function.shed),
    ("absent hits", |function| function.absent_hits),
    ("error hits", |function| function.error_hits),
];

/// The columns of a fourth table, about tags and expiries.
const TAG_COLUMNS: [Column; 3] = [
    ("expired", |function| function.expiries),
    ("tag errs", |function| function.tag_errors),
    ("tagged, not stored", |function| {
        let tiers = function.tiers.iter();
        sum(tiers.map(|tier| tier.refused_fills.tags))
    }),
];

/// Smallest width of a column of the third table.
const MIN_WIDTH: usize = 5;

/// Writes a table of the tiers of each function, and one of the times of the loads. A third table
/// has the functions whose values were returned stale or refreshed in the background, or whose
/// loads took too long. A fourth table and a last line have what was expired, and what concerns
/// tags.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .used()
            .map(|function| function.name.chars().count())
            .max();
        let width = width.unwrap_or(0).max("function".len());
        self.write_tiers(f, width)?;
        self.write_times(f, width)?;
        self.write_columns(f, width, &COLUMNS)?;
        self.write_columns(f, width, &TAG_COLUMNS)?;
        let (invalidated, expired) = (self.tag_invalidations, self.tag_expiries);
        if invalidated > 0 || expired > 0 {
            writeln!(f, "\ntags: {invalidated} invalidated, {expired} expired")?;
        }
        match self.functions.len() - self.used().count() {
            0 => Ok(()),
            unused => writeln!(f, "\nfunctions without calls: {unused}"),
        }
    }
}

impl Stats {
    /// The functions that the tables show: those for which something was counted.
    fn used(&self) -> impl Iterator<Item = &FunctionStats> {
        let functions = self.functions.iter();
        functions.filter(|function| !function.is_unused())
    }

    fn write_tiers(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let mut tiers = self.functions.iter().flat_map(|function| &function.tiers);
        let has_stale = tiers.any(|tier| tier.stale_hits > 0);
        let stale = |text: &str| match has_stale {
            true => format!("  {text:>9}"),
            false => String::new(),
        };
        writeln!(
            f,
            "{:width$}  {:>4}  {:>9}{}  {:>9}  {:>9}  {:>7}  {:>6}  {:>9}  {:>9}  {:>6}",
            "function",
            "tier",
            "hits",
            stale("stale"),
            "isolated",
            "misses",
            "errors",
            "loads",
            "load errs",
            "waits",
            "inval."
        )?;
        for function in self.used() {
            if function.tiers.is_empty() {
                let (name, loads, errors) = (&function.name, function.loads, function.load_errors);
                writeln!(
                    f,
                    "{name:width$}  {:>4}  {:>9}{}  {:>9}  {:>9}  {:>7}  {loads:>6}  {errors:>9}",
                    "none",
                    "",
                    stale(""),
                    "",
                    "",
                    ""
                )?;
            }
            for (at, tier) in function.tiers.iter().enumerate() {
                let errors = sum([tier.decode_errors, tier.mismatches, tier.tier_errors]);
                let name = if at == 0 { function.name.as_str() } else { "" };
                write!(
                    f,
                    "{name:width$}  {:>4}  {:>9}{}  {:>9}  {:>9}  {errors:>7}",
                    tier.level.to_string(),
                    tier.hits,
                    stale(&tier.stale_hits.to_string()),
                    tier.isolated_hits,
                    tier.misses
                )?;
                if at == 0 {
                    write!(
                        f,
                        "  {:>6}  {:>9}  {:>9}  {:>6}",
                        function.loads,
                        function.load_errors,
                        function.waits,
                        function.invalidations
                    )?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }

    /// Writes a table with those of the columns, and the functions, that have a number in it.
    fn write_columns(
        &self,
        f: &mut fmt::Formatter<'_>,
        width: usize,
        columns: &[Column],
    ) -> fmt::Result {
        let is_shown = |(_, of): &&Column| self.functions.iter().any(|function| of(function) > 0);
        let columns: Vec<&Column> = columns.iter().filter(is_shown).collect();
        if columns.is_empty() {
            return Ok(());
        }
        write!(f, "\n{:width$}", "function")?;
        for (heading, _) in &columns {
            write!(f, "  {heading:>MIN_WIDTH$}")?;
        }
        writeln!(f)?;
        for function in &self.functions {
            if columns.iter().all(|(_, of)| of(function) == 0) {
                continue;
            }
            write!(f, "{:width$}", function.name)?;
            for (heading, of) in &columns {
                let column = heading.len().max(MIN_WIDTH);
                write!(f, "  {:>column$}", of(function))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::level::Level;
    use crate::stats::{FunctionCounters, LoadResult, TierCounters};

    fn function(name: &str, counters: &FunctionCounters, memory: &TierCounters) -> FunctionStats {
        counters.snapshot(name.to_owned(), 1, vec![memory.snapshot(Level::L1)])
    }

    fn plain() -> FunctionStats {
        let (counters, memory) = (FunctionCounters::default(), TierCounters::default());
        memory.hits.add_one();
        counters.loads.add_one();
        function("a::plain", &counters, &memory)
    }

    #[test]
    fn table_of_functions_without_windows_has_no_column_about_them() {
        let table = Stats {
            functions: vec![plain()],
            ..Stats::default()
        };
        assert_eq!(
            table.to_string(),
            "function  tier       hits   isolated     misses   errors   loads  load errs      \
             waits  inval.\n\
             a::plain    l1          1          0          0        0       1          0          \
             0       0\n"
        );
    }

    #[test]
    fn table_shows_columns_and_functions_that_have_a_number() {
        let (counters, memory) = (FunctionCounters::default(), TierCounters::default());
        memory.stale_hits.add_one();
        counters.loads.add_one();
        counters.refreshes.add_one();
        counters.refresh_errors.add_one();
        counters.shed.add_one();
        let table = Stats {
            functions: vec![plain(), function("b::late", &counters, &memory)],
            ..Stats::default()
        };
        assert_eq!(
            table.to_string(),
            "function  tier       hits      stale   isolated     misses   errors   loads  load \
             errs      waits  inval.\n\
             a::plain    l1          1          0          0          0        0       1          \
             0          0       0\n\
             b::late     l1          1          1          0          0        0       1          \
             0          0       0\n\
             \n\
             function  refreshes  failed   shed\n\
             b::late           1       1      1\n"
        );
    }

    #[test]
    fn table_of_loads_has_the_functions_whose_bodies_have_ended() {
        let (counters, memory) = (FunctionCounters::default(), TierCounters::default());
        for number in 1..=3 {
            counters.loads.add_one();
            let took = Duration::from_millis(10 * number);
            counters.load_times.of(LoadResult::Value).record(took);
        }
        counters.loads.add(2);
        let cancelled = counters.load_times.of(LoadResult::Cancelled);
        cancelled.record(Duration::from_secs(1));
        let unused = (FunctionCounters::default(), TierCounters::default());
        let unused = function("c::a_function_without_calls", &unused.0, &unused.1);
        let table = Stats {
            functions: vec![plain(), function("b::loads", &counters, &memory), unused],
            ..Stats::default()
        };
        let table = table.to_string();
        let expected = "\nfunction   values   absent  errors  cancelled  running       p50       \
                        p99\n\
                        b::loads        3        0       0          1        1    17.5ms    \
                        29.7ms\n\
                        \nfunctions without calls: 1\n";
        assert!(table.ends_with(expected), "{table}");
    }

    #[test]
    fn table_of_tags_has_the_functions_that_were_expired_or_could_not_be_stored() {
        let (counters, memory) = (FunctionCounters::default(), TierCounters::default());
        counters.loads.add_one();
        counters.expiries.key.add_one();
        memory.refused_fills.add_one(crate::stats::Refusal::Tags);
        let table = Stats {
            functions: vec![plain(), function("b::tagged", &counters, &memory)],
            tag_invalidations: 3,
            tag_expiries: 1,
            ..Stats::default()
        };
        let table = table.to_string();
        let expected = "\nfunction   expired  tagged, not stored\n\
                        b::tagged        1                   1\n\
                        \ntags: 3 invalidated, 1 expired\n";
        assert!(table.ends_with(expected), "{table}");
    }

    #[test]
    fn table_with_all_columns_is_at_most_110_columns_wide() {
        let (counters, memory) = (FunctionCounters::default(), TierCounters::default());
        memory.stale_hits.add_one();
        let all = [
            &counters.refreshes,
            &counters.refresh_errors,
            &counters.stale_on_error,
            &counters.timeouts,
            &counters.abandoned,
            &counters.shed,
        ];
        for counter in all {
            counter.add_one();
        }
        for hits in [
            &counters.backed_off,
            &counters.absent_hits,
            &counters.error_hits,
        ] {
            hits.add_one();
        }
        let table = Stats {
            functions: vec![function("users::by_id", &counters, &memory)],
            ..Stats::default()
        };
        let table = table.to_string();
        let widest = table.lines().map(str::len).max();
        assert!(widest <= Some(110), "{widest:?}\n{table}");
        for (heading, _) in COLUMNS {
            assert!(table.contains(heading), "{heading:?} is not in\n{table}");
        }
    }

    #[test]
    fn background_loads_and_stale_hits_leave_the_hit_rate_right() {
        let (counters, memory) = (FunctionCounters::default(), TierCounters::default());
        // One call that loads, two fresh hits, and a stale hit that begins a background load.
        counters.loads.add_one();
        memory.hits.add_one();
        memory.hits.add_one();
        memory.stale_hits.add_one();
        counters.loads.add_one();
        counters.refreshes.add_one();
        let one = function("a::late", &counters, &memory);
        assert_eq!((one.hits(), one.tiers[0].hits), (3, 3));
        assert_eq!(one.tiers[0].stale_hits, 1);
        assert_eq!(one.hit_rate(), Some(0.75));
        let all = Stats {
            functions: vec![one],
            ..Stats::default()
        };
        assert_eq!(all.hit_rate(), Some(0.75));
    }

    #[test]
    fn published_counters_of_any_size_are_added_and_shown() {
        let most = u64::MAX;
        let mut one = plain();
        (one.loads, one.expiries) = (most, most);
        let by_scope = &mut one.invalidations_by_scope;
        (by_scope.key, by_scope.function) = (most, most);
        (one.expiries_by_scope.key, one.expiries_by_scope.function) = (most, most);
        (one.uncached.recursive, one.uncached.blocking) = (most, most);
        let tier = &mut one.tiers[0];
        (tier.hits, tier.isolated_hits) = (most, most);
        (tier.decode_errors, tier.mismatches) = (most, most);
        (tier.refused_fills.tags, tier.refused_fills.lease) = (most, most);
        one.tiers.push(one.tiers[0].clone());
        let totals = [
            one.hits(),
            one.invalidations_by_scope.total(),
            one.expiries_by_scope.total(),
            one.uncached.total(),
            one.tiers[0].refused_fills.total(),
        ];
        assert_eq!(totals, [most; 5]);
        assert_eq!(one.hit_rate(), Some(1.0));
        let all = Stats {
            functions: vec![one.clone(), one],
            tag_invalidations: most,
            tag_expiries: most,
            ..Stats::default()
        };
        assert_eq!(all.hit_rate(), Some(1.0));
        assert!(all.to_string().contains(&most.to_string()));
    }
}
