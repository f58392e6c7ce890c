//! An instance, as its parent process controls it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::history::Event;
use crate::instance::Settings;

/// Longest wait for a reply: longer than any takes, however busy the machine is.
const LONGEST_REPLY: Duration = Duration::from_secs(60);

/// An instance. Its process is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    settings: Settings,
    directory: PathBuf,
    program: PathBuf,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts an instance that writes its events into `directory`. `program` is the one of this
    /// package.
    ///
    /// # Errors
    /// The process cannot be started.
    pub async fn start(
        program: &Path,
        directory: &Path,
        mut settings: Settings,
    ) -> io::Result<Self> {
        let life = settings.life;
        settings.history = directory.join(format!("{}-{}", life.instance, life.number));
        let mut child = Command::new(program)
            .arg("instance")
            .args(settings.to_arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the child has no pipes"));
        };
        let mut process = Self {
            settings,
            directory: directory.to_owned(),
            program: program.to_owned(),
            child,
            input,
            output: BufReader::new(output).lines(),
        };
        process.reply().await?;
        Ok(process)
    }

    /// Sends a command that has no reply.
    ///
    /// # Errors
    /// The instance has ended.
    pub async fn send(&mut self, command: &str) -> io::Result<()> {
        self.input
            .write_all(format!("{command}\n").as_bytes())
            .await
    }

    /// Sends a command and waits for the reply.
    ///
    /// # Errors
    /// The instance has ended, or does not reply within a minute.
    pub async fn request(&mut self, command: &str) -> io::Result<String> {
        self.send(command).await?;
        self.reply().await
    }

    /// Waits for the reply to a command that was sent before.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn reply(&mut self) -> io::Result<String> {
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

    /// Returns `true` if the instance is connected to Redis and coherent.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn is_coherent(&mut self) -> io::Result<bool> {
        Ok(self.request("health").await?.starts_with("health 1 1 "))
    }

    /// Waits until the instance is coherent and has no queued invalidations, for a minute at most.
    ///
    /// # Errors
    /// As [`request`](Self::request), or the instance takes longer.
    pub async fn until_at_rest(&mut self) -> io::Result<()> {
        let at_rest = async {
            loop {
                let health = self.request("health").await?;
                if health.starts_with("health 1 1 ") && health.ends_with(" 0") {
                    return Ok(());
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONGEST_REPLY, at_rest).await.unwrap_or_else(|_| {
            Err(io::Error::other(
                "an instance does not become coherent with an empty queue",
            ))
        })
    }

    /// Suspends the process.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Resumes the process.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// Kills the process and starts the instance again, as another life.
    ///
    /// # Errors
    /// The process cannot be started.
    pub async fn kill_and_start(&mut self) -> io::Result<()> {
        self.child.kill().await?;
        self.start_again().await
    }

    /// Shuts the instance down and starts it again, as another life.
    ///
    /// # Errors
    /// The instance failed to shut down, or the process cannot be started.
    pub async fn stop_and_start(&mut self) -> io::Result<()> {
        self.stop().await?;
        self.start_again().await
    }

    async fn start_again(&mut self) -> io::Result<()> {
        let mut settings = self.settings.clone();
        settings.life.number += 1;
        settings.seed = settings.seed.wrapping_add(1);
        *self = Self::start(&self.program, &self.directory, settings).await?;
        Ok(())
    }

    /// Shuts the instance down.
    ///
    /// # Errors
    /// The instance failed to shut down.
    pub async fn stop(&mut self) -> io::Result<()> {
        let reply = self.request("stop").await?;
        let status = timeout(LONGEST_REPLY, self.child.wait()).await??;
        if reply == "stopped" && status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("an instance ended with {status}")))
        }
    }
}

/// Returns the events that all instances have written into `directory`.
///
/// # Errors
/// A file cannot be read.
pub fn histories(directory: &Path) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        let is_history = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_digit()));
        if is_history {
            events.extend(crate::history::parse(&std::fs::read_to_string(path)?));
        }
    }
    Ok(events)
}
