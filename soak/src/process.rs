//! An instance as its parent holds it.

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

/// Longer than any answer takes, be the machine as busy as it may.
const ANSWER: Duration = Duration::from_secs(60);

/// Killed when it is dropped.
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
    /// Starts an instance whose events go into `directory`; `program` is this package's.
    ///
    /// # Errors
    /// It cannot be started.
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
            return Err(io::Error::other("a child without pipes"));
        };
        let mut process = Self {
            settings,
            directory: directory.to_owned(),
            program: program.to_owned(),
            child,
            input,
            output: BufReader::new(output).lines(),
        };
        process.answer().await?;
        Ok(process)
    }

    /// Tells it something that it does not answer.
    ///
    /// # Errors
    /// It is gone.
    pub async fn tell(&mut self, command: &str) -> io::Result<()> {
        self.input
            .write_all(format!("{command}\n").as_bytes())
            .await
    }

    /// Tells it something and waits for its answer.
    ///
    /// # Errors
    /// It is gone, or does not answer within a minute.
    pub async fn ask(&mut self, command: &str) -> io::Result<String> {
        self.tell(command).await?;
        self.answer().await
    }

    /// Waits for its answer.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn answer(&mut self) -> io::Result<String> {
        let line = timeout(ANSWER, self.output.next_line()).await;
        match line {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None)) => Err(io::Error::other("an instance ended unasked")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("an instance does not answer")),
        }
    }

    /// Whether it is connected to Redis and knows what others invalidate.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn is_coherent(&mut self) -> io::Result<bool> {
        Ok(self.ask("health").await?.starts_with("health 1 1 "))
    }

    /// Waits until it is coherent and has nothing left to send, for a minute at most.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), or that it takes longer.
    pub async fn until_at_rest(&mut self) -> io::Result<()> {
        let at_rest = async {
            loop {
                let health = self.ask("health").await?;
                if health.starts_with("health 1 1 ") && health.ends_with(" 0") {
                    return Ok(());
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(ANSWER, at_rest)
            .await
            .unwrap_or_else(|_| Err(io::Error::other("an instance does not come to rest")))
    }

    /// Stops it where it is.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// Kills it, and starts it again as another life.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn kill_and_start(&mut self) -> io::Result<()> {
        self.child.kill().await?;
        self.start_again().await
    }

    /// Stops it in order, and starts it again as another life.
    ///
    /// # Errors
    /// It did not stop in order, or cannot be started.
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

    /// Stops it in order.
    ///
    /// # Errors
    /// It did not.
    pub async fn stop(&mut self) -> io::Result<()> {
        let answer = self.ask("stop").await?;
        let status = timeout(ANSWER, self.child.wait()).await??;
        if answer == "stopped" && status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("an instance ended with {status}")))
        }
    }
}

/// What all instances have noted in `directory`.
///
/// # Errors
/// It cannot be read.
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
