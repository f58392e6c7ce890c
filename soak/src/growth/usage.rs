//! The work of a server, as its `INFO` reports it.

use std::io;
use std::ops::Sub;

use testbed::ask::ask;
use testbed::server::Server;

/// The work of a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Commands, those of scripts included.
    pub commands: f64,
    /// Bytes that it received.
    pub received: f64,
    /// Bytes that it sent.
    pub sent: f64,
    /// Seconds of one core.
    pub cpu: f64,
}

impl Usage {
    /// Applies a function to each figure.
    fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self {
            commands: change(self.commands),
            received: change(self.received),
            sent: change(self.sent),
            cpu: change(self.cpu),
        }
    }

    pub(super) fn per(self, number: f64) -> Self {
        self.map(|figure| figure / number)
    }

    pub(super) fn times(self, number: f64) -> Self {
        self.map(|figure| figure * number)
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            commands: self.commands - other.commands,
            received: self.received - other.received,
            sent: self.sent - other.sent,
            cpu: self.cpu - other.cpu,
        }
    }
}

/// Returns what the server has done since it started.
pub(super) async fn used(server: &Server) -> io::Result<Usage> {
    Ok(usage(&info(server).await?))
}

/// Returns the reply to `INFO`.
pub(super) async fn info(server: &Server) -> io::Result<String> {
    ask(server.port(), &["INFO", "everything"])
        .await
        .map_err(io::Error::other)
}

/// Reads what a server has done out of its `INFO`.
pub(super) fn usage(info: &str) -> Usage {
    let field = |name: &str| -> f64 {
        let value = info.lines().find_map(|line| line.strip_prefix(name));
        value
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0.0)
    };
    Usage {
        commands: field("total_commands_processed:"),
        received: field("total_net_input_bytes:"),
        sent: field("total_net_output_bytes:"),
        cpu: field("used_cpu_user:") + field("used_cpu_sys:"),
    }
}
