//! The times of a function besides its ttl.

use std::time::Duration;

use super::FunctionBuilder;
use crate::call::CacheValue;
#[cfg(doc)]
use crate::function::built::Function;
use crate::function::times::RefreshAhead;

/// Times besides the ttl. [`build`](FunctionBuilder::build) refuses a time that is zero or longer
/// than 365 days, and times that exclude each other.
impl<V: CacheValue, S> FunctionBuilder<V, S> {
    /// Sets the time after the end of the ttl in which a call returns the stale value at once,
    /// while one load in the background replaces it. The time is not multiplied by the ttl scale of
    /// a tier. Default: none, because no value is returned past its ttl unless the function allows
    /// it.
    ///
    /// `build` refuses it together with [`Consistency::Strong`](crate::Consistency::Strong).
    ///
    /// It has an effect on [`get_or_load_late`](Function::get_or_load_late). The load of
    /// [`get_or_load`](Function::get_or_load) ends with its caller, so that method loads before it
    /// returns, and does not return the stale value unless
    /// [`stale_if_error`](Self::stale_if_error) allows it.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.definition.times.stale_while_revalidate = Some(window);
        self
    }

    /// Sets the time after the end of the ttl in which a call returns the stale value if its load
    /// fails. It begins at the end of the ttl, as
    /// [`stale_while_revalidate`](Self::stale_while_revalidate) does, so it has to be longer than
    /// that to have an effect of its own. Default: none; the call returns the error of its load.
    ///
    /// `build` refuses it together with [`Consistency::Strong`](crate::Consistency::Strong).
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.definition.times.stale_if_error = Some(window);
        self
    }

    /// Sets the time from the beginning of a load after which the calls that wait for it return the
    /// stale value, while the load continues in the background. A call of
    /// [`get_or_load`](crate::Function::get_or_load) waits for its own load nevertheless. Default:
    /// none; a call waits until its load ends.
    ///
    /// `build` refuses it without [`stale_if_error`](Self::stale_if_error), because there would be
    /// no value to return, and if it is not shorter than the hard timeout and the load limit.
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.definition.times.soft_timeout = Some(timeout);
        self
    }

    /// Loads a value again in the background if it is requested shortly before it expires:
    /// [`RefreshAhead::Measured`], or a `Duration` before the end of the ttl at the latest. A value
    /// that is not requested then is not loaded again. Default: no load begins before the end of
    /// the ttl, because it would replace a value that is still fresh.
    ///
    /// `build` refuses a `Duration` that is not shorter than the shortest ttl of the tiers.
    ///
    /// It has an effect on [`get_or_load_late`](Function::get_or_load_late). The load of
    /// [`get_or_load`](Function::get_or_load) ends with its caller, so that method never loads
    /// ahead.
    pub fn refresh_ahead(mut self, ahead: impl Into<RefreshAhead>) -> Self {
        self.definition.times.refresh_ahead = Some(ahead.into());
        self
    }

    /// Sets the largest part, in percent, by which a life is shortened, so that values that were
    /// loaded together do not expire together. The part depends on the key alone: the entry and
    /// the records of a key are shortened alike. Default: 5 percent in the tiers below memory, and
    /// nothing in memory.
    ///
    /// `build` refuses more than 50 percent.
    pub fn jitter(mut self, percent: u8) -> Self {
        self.definition.times.jitter = Some(percent);
        self
    }

    /// Sets the time for which the result `None` of a load is kept, in every tier of the function.
    /// It has an effect only on loads that return `Option<V>` or `Result<Option<V>, E>`. Default:
    /// `None` is not kept, and the next call runs the load again.
    pub fn none_ttl(mut self, ttl: Duration) -> Self {
        self.definition.times.none_ttl = Some(ttl);
        self
    }

    /// Sets the time for which an error is kept in the memory of this instance, if
    /// [`error_if`](Self::error_if) chooses it. Default: errors are not kept, and the next call
    /// runs the load again.
    ///
    /// `build` refuses more than 60 seconds: a kept error hides that the source is available again.
    /// It also refuses a function without `error_if`, or without memory.
    pub fn error_ttl(mut self, ttl: Duration) -> Self {
        self.definition.times.error_ttl = Some(ttl);
        self
    }
}
