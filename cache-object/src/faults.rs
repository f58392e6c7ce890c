//! A storage service in memory that fails, hangs or replies late, as a test says.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opendal::raw::{
    Layer, OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite,
    RpCreateDir, RpPresign, RpRead, RpRename, RpStat, Service, ServiceInfo, Servicer, oio,
};
use opendal::services::Memory;
use opendal::{
    Buffer, BytesRange, Capability, Error, ErrorKind, Metadata, OperationContext, Operator, Result,
};
use tokio::time::sleep;

const SLOW: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Delete,
    List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation fails, and has no effect.
    Fails,
    /// The operation takes effect, and fails for its caller.
    Unanswered,
    /// The operation never ends, and has no effect.
    Hangs,
    /// The operation takes three seconds.
    Slow,
    /// The operation never ends, and a write takes effect when the test [lands](Faults::land) it.
    Late,
}

/// The faults of a service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    rules: Vec<(Operation, String, Fault)>,
    begun: Vec<(Operation, String)>,
    late: Vec<(String, Buffer)>,
    cannot_refuse: bool,
}

impl Faults {
    /// Returns an operator with these faults, and one of the same service without faults.
    pub(crate) fn operators(&self) -> (Operator, Operator) {
        let sound = Operator::new(Memory::default()).unwrap();
        (sound.clone().layer(self.clone()), sound)
    }

    /// Sets a fault for all paths that contain `path`.
    pub(crate) fn set(&self, operation: Operation, path: &str, fault: Fault) {
        let mut state = self.0.lock().unwrap();
        state.rules.push((operation, path.to_owned(), fault));
    }

    /// Removes all faults. Operations that hang continue to hang.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().rules.clear();
    }

    /// Makes the service one without conditional writes.
    pub(crate) fn cannot_refuse(&self) {
        self.0.lock().unwrap().cannot_refuse = true;
    }

    /// Returns how many of these operations have begun.
    pub(crate) fn begun(&self, operation: Operation, path: &str) -> usize {
        let state = self.0.lock().unwrap();
        let begun = state.begun.iter();
        begun
            .filter(|(what, on)| *what == operation && on.contains(path))
            .count()
    }

    /// Lets all late writes take effect, and returns their number.
    pub(crate) async fn land(&self, sound: &Operator) -> usize {
        let late = std::mem::take(&mut self.0.lock().unwrap().late);
        let landed = late.len();
        for (path, bytes) in late {
            sound.write(&path, bytes).await.unwrap();
        }
        landed
    }

    fn fault(&self, operation: Operation, path: &str) -> Option<Fault> {
        let mut state = self.0.lock().unwrap();
        state.begun.push((operation, path.to_owned()));
        let rules = state.rules.iter();
        let mut meant = rules.filter(|(what, on, _)| *what == operation && path.contains(on));
        meant.next().map(|(_, _, fault)| *fault)
    }

    async fn pass(&self, operation: Operation, path: &str) -> Result<()> {
        match self.fault(operation, path) {
            None => Ok(()),
            Some(Fault::Fails | Fault::Unanswered) => Err(broken()),
            Some(Fault::Slow) => {
                sleep(SLOW).await;
                Ok(())
            }
            Some(Fault::Hangs | Fault::Late) => pending().await,
        }
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Unexpected, "the service is broken")
}

impl Layer for Faults {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(Broken {
            inner,
            faults: self.clone(),
        })
    }
}

#[derive(Debug)]
struct Broken {
    inner: Servicer,
    faults: Faults,
}

pub(crate) struct Each<T> {
    inner: T,
    path: String,
    written: Buffer,
    faults: Faults,
}

impl Broken {
    fn each<T>(&self, inner: T, path: &str) -> Each<T> {
        Each {
            inner,
            path: path.to_owned(),
            written: Buffer::new(),
            faults: self.faults.clone(),
        }
    }
}

impl Service for Broken {
    type Reader = Each<oio::Reader>;
    type Writer = Each<oio::Writer>;
    type Lister = Each<oio::Lister>;
    type Deleter = Each<oio::Deleter>;
    type Copier = oio::Copier;
    type Composer = oio::Composer;

    fn info(&self) -> ServiceInfo {
        self.inner.info()
    }

    fn capability(&self) -> Capability {
        let mut capability = self.inner.capability();
        capability.write_with_if_not_exists &= !self.faults.0.lock().unwrap().cannot_refuse;
        capability
    }

    async fn create_dir(
        &self,
        context: &OperationContext,
        path: &str,
        args: OpCreateDir,
    ) -> Result<RpCreateDir> {
        self.inner.create_dir(context, path, args).await
    }

    async fn stat(&self, context: &OperationContext, path: &str, args: OpStat) -> Result<RpStat> {
        self.faults.pass(Operation::Read, path).await?;
        self.inner.stat(context, path, args).await
    }

    fn read(&self, context: &OperationContext, path: &str, args: OpRead) -> Result<Self::Reader> {
        Ok(self.each(self.inner.read(context, path, args)?, path))
    }

    fn write(&self, context: &OperationContext, path: &str, args: OpWrite) -> Result<Self::Writer> {
        Ok(self.each(self.inner.write(context, path, args)?, path))
    }

    fn delete(&self, context: &OperationContext) -> Result<Self::Deleter> {
        Ok(self.each(self.inner.delete(context)?, ""))
    }

    fn list(&self, context: &OperationContext, path: &str, args: OpList) -> Result<Self::Lister> {
        Ok(self.each(self.inner.list(context, path, args)?, path))
    }

    fn copy(
        &self,
        context: &OperationContext,
        from: &str,
        to: &str,
        args: OpCopy,
    ) -> Result<Self::Copier> {
        self.inner.copy(context, from, to, args)
    }

    async fn rename(
        &self,
        context: &OperationContext,
        from: &str,
        to: &str,
        args: OpRename,
    ) -> Result<RpRename> {
        self.inner.rename(context, from, to, args).await
    }

    async fn presign(
        &self,
        context: &OperationContext,
        path: &str,
        args: OpPresign,
    ) -> Result<RpPresign> {
        self.inner.presign(context, path, args).await
    }
}

impl oio::Read for Each<oio::Reader> {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        self.faults.pass(Operation::Read, &self.path).await?;
        self.inner.open(range).await
    }

    async fn read(&self, range: BytesRange) -> Result<(RpRead, Buffer)> {
        self.faults.pass(Operation::Read, &self.path).await?;
        self.inner.read(range).await
    }
}

impl oio::Write for Each<oio::Writer> {
    async fn write(&mut self, bytes: Buffer) -> Result<()> {
        self.written = bytes.clone();
        self.inner.write(bytes).await
    }

    async fn close(&mut self) -> Result<Metadata> {
        match self.faults.fault(Operation::Write, &self.path) {
            None => self.inner.close().await,
            Some(Fault::Fails) => Err(broken()),
            Some(Fault::Unanswered) => {
                self.inner.close().await?;
                Err(broken())
            }
            Some(Fault::Slow) => {
                sleep(SLOW).await;
                self.inner.close().await
            }
            Some(Fault::Hangs) => pending().await,
            Some(Fault::Late) => {
                let late = (self.path.clone(), self.written.clone());
                self.faults.0.lock().unwrap().late.push(late);
                pending().await
            }
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

impl oio::Delete for Each<oio::Deleter> {
    async fn delete(&mut self, path: &str, args: OpDelete) -> Result<()> {
        self.faults.pass(Operation::Delete, path).await?;
        self.inner.delete(path, args).await
    }

    async fn close(&mut self) -> Result<()> {
        self.inner.close().await
    }
}

impl oio::List for Each<oio::Lister> {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        self.faults.pass(Operation::List, &self.path).await?;
        self.inner.next().await
    }
}
