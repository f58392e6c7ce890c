//! An instance, as its parent process controls it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{sleep, timeout};

use crate::child::{ControlledChild, LONGEST_REPLY};
use crate::history::Event;
use crate::instance::Settings;

/// An instance. Its process is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    settings: Settings,
    directory: PathBuf,
    program: PathBuf,
    child: ControlledChild,
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
        let mut arguments = vec!["instance".to_owned()];
        arguments.extend(settings.to_arguments());
        Ok(Self {
            settings,
            directory: directory.to_owned(),
            program: program.to_owned(),
            child: ControlledChild::start(program, &arguments).await?,
        })
    }

    /// Sends a command that has no reply.
    ///
    /// # Errors
    /// The instance has ended.
    pub async fn send(&mut self, command: &str) -> io::Result<()> {
        self.child.send(command).await
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
        self.child.reply().await
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
        self.child.stop().await
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
