//! The times of the loads as a table.

use std::fmt;
use std::time::Duration;

use super::report::Stats;

/// Shows a duration in its largest unit; `-` if there is none.
pub(crate) fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1?}"))
}

impl Stats {
    /// Writes a table of the functions whose bodies have run: how many ended with which result, how
    /// many run, and how long those took that returned. `width` is that of the first column.
    pub(super) fn write_times(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let functions = self.functions.iter();
        let timed = functions.filter(|function| function.load_times.count() > 0);
        for (number, function) in timed.enumerate() {
            if number == 0 {
                writeln!(
                    f,
                    "\n{:width$}  {:>7}  {:>7}  {:>6}  {:>9}  {:>7}  {:>8}  {:>8}",
                    "function", "values", "absent", "errors", "cancelled", "running", "p50", "p99"
                )?;
            }
            let times = &function.load_times;
            let returned = times.returned();
            writeln!(
                f,
                "{:width$}  {:>7}  {:>7}  {:>6}  {:>9}  {:>7}  {:>8}  {:>8}",
                function.name,
                times.value.count(),
                times.absent.count(),
                times.error.count(),
                times.cancelled.count(),
                function.running_loads(),
                shown(returned.quantile(0.5)),
                shown(returned.quantile(0.99))
            )?;
        }
        Ok(())
    }
}
