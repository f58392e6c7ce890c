//! A child process that is controlled through its input and output, line by line.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Longest wait for a reply: longer than any takes, however busy the machine is.
pub(crate) const LONGEST_REPLY: Duration = Duration::from_secs(60);

/// A child process, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct ControlledChild {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl ControlledChild {
    /// Starts a process, and waits for its first line.
    pub(crate) async fn start(program: &Path, arguments: &[String]) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the child has no pipes"));
        };
        let mut controlled = Self {
            child,
            input,
            output: BufReader::new(output).lines(),
        };
        controlled.reply().await?;
        Ok(controlled)
    }

    /// Sends a command.
    pub(crate) async fn send(&mut self, command: &str) -> io::Result<()> {
        self.input
            .write_all(format!("{command}\n").as_bytes())
            .await
    }

    /// Waits for the reply to a command that was sent before.
    pub(crate) async fn reply(&mut self) -> io::Result<String> {
        let line = timeout(LONGEST_REPLY, self.output.next_line()).await;
        match line {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None)) => Err(io::Error::other(
                "an instance ended without a command to stop",
            )),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("an instance does not reply")),
        }
    }

    /// Sends `stop`, and waits until the process has ended.
    pub(crate) async fn stop(&mut self) -> io::Result<()> {
        self.send("stop").await?;
        let reply = self.reply().await?;
        let status: ExitStatus = timeout(LONGEST_REPLY, self.child.wait()).await??;
        if reply == "stopped" && status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("an instance ended with {status}")))
        }
    }

    /// Kills the process.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Returns the id of the process, if it has not ended.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }
}
