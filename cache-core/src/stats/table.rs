//! The statistics as tables.
//!
//! The columns of functions with windows, timeouts and kept results appear only if one of them is
//! not zero, so that a program without such functions sees one small table.

use std::fmt;

use super::{FunctionStats, Stats};

/// A column of the second table: its heading, and the counter that it shows.
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

/// Smallest width of a column of the second table.
const MIN_WIDTH: usize = 5;

/// Writes a table of the tiers of each function. A second table has the functions whose values were
/// returned stale or refreshed in the background, or whose loads took too long.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.functions.iter();
        let width = names.map(|function| function.name.chars().count()).max();
        let width = width.unwrap_or(0).max("function".len());
        self.write_tiers(f, width)?;
        self.write_times(f, width)
    }
}

impl Stats {
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
        for function in &self.functions {
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
                let errors = tier.decode_errors + tier.mismatches + tier.tier_errors;
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

    /// Writes the second table, with the columns and the functions that have a number in it.
    fn write_times(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let is_shown = |(_, of): &Column| self.functions.iter().any(|function| of(function) > 0);
        let columns: Vec<Column> = COLUMNS.into_iter().filter(is_shown).collect();
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
    use super::*;
    use crate::level::Level;
    use crate::stats::{FunctionCounters, TierCounters};

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
        };
        assert_eq!(all.hit_rate(), Some(0.75));
    }
}
