//! Connections whose driver belongs to the caller.
//!
//! The client library's own constructor spawns the driver and aborts it with the last clone of the
//! connection; see [`drivers`](crate::drivers) for why that is too late. The constructor that
//! returns the driver expects a stream, and the library does not expose how it opens its own. So
//! the stream is opened here.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use redis::aio::{AsyncStream, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::SockRef;
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

/// Certificates in PEM format.
#[derive(Clone)]
pub(crate) struct Pem(Arc<[u8]>);

#[cfg(feature = "tls")]
impl Pem {
    pub(crate) fn new(certificates: Vec<u8>) -> Self {
        Self(certificates.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pem {
    /// Shows the length alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({} bytes)", self.0.len())
    }
}

type Stream = Pin<Box<dyn AsyncStream + Send + Sync>>;

/// Connects, authenticates and selects the database. The connection works while its driver, the
/// second part of the result, is polled.
///
/// `root`: the authority that the server's certificate is checked against. Without it the system's
/// authorities are used.
///
/// # Errors
/// If the server cannot be reached or refuses the handshake. There is no time limit.
pub(crate) async fn connect(
    info: &ConnectionInfo,
    root: Option<&Pem>,
    config: AsyncConnectionConfig,
) -> Result<
    (
        MultiplexedConnection,
        impl Future<Output = ()> + Send + 'static,
    ),
    RedisError,
> {
    let stream = open(info, root).await?;
    MultiplexedConnection::new_with_config(info.redis_settings(), stream, config).await
}

/// Runs `question` on a connection of its own, which is closed after it.
///
/// # Errors
/// The server cannot be reached, or the question fails. There is no time limit.
pub(crate) async fn ask<T, F>(
    info: &ConnectionInfo,
    root: Option<&Pem>,
    question: impl FnOnce(MultiplexedConnection) -> F,
) -> Result<T, RedisError>
where
    F: Future<Output = Result<T, RedisError>>,
{
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (connection, driver) = connect(info, root, config).await?;
    tokio::select! {
        // Answers that the driver received before it ended are not lost.
        biased;
        answer = question(connection) => answer,
        () = driver => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
    }
}

/// Checks that the certificates can be read.
///
/// # Errors
/// They cannot, or there is none.
#[cfg(feature = "tls")]
pub(crate) fn check_root(root: &Pem) -> Result<(), RedisError> {
    match authorities(Some(root))?.is_empty() {
        true => Err(unusable("there is no certificate in PEM format")),
        false => Ok(()),
    }
}

async fn open(info: &ConnectionInfo, root: Option<&Pem>) -> Result<Stream, RedisError> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            Ok(Box::pin(tcp(host, *port, info.tcp_settings()).await?))
        }
        ConnectionAddr::TcpTls { insecure: true, .. } => Err(unusable(
            "a TLS connection without verification of the certificate is not supported",
        )),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let tcp = tcp(host, *port, info.tcp_settings()).await?;
            tls(tcp, host, root).await
        }
        #[cfg(unix)]
        ConnectionAddr::Unix(path) => Ok(Box::pin(tokio::net::UnixStream::connect(path).await?)),
        _ => Err(unusable("this kind of address is not supported")),
    }
}

fn unusable(why: &'static str) -> RedisError {
    (ErrorKind::InvalidClientConfig, why).into()
}

/// Connects to all addresses of the host at once, and returns the first connection. An address that
/// does not respond must not hold up the others.
async fn tcp(host: &str, port: u16, settings: &TcpSettings) -> Result<TcpStream, RedisError> {
    let mut attempts = JoinSet::new();
    for address in lookup_host((host, port)).await? {
        attempts.spawn(TcpStream::connect(address));
    }
    let mut last_error = unusable("the host has no address");
    while let Some(attempt) = attempts.join_next().await {
        match attempt.unwrap_or_else(|error| Err(error.into())) {
            Ok(stream) => {
                stream.set_nodelay(settings.nodelay())?;
                if let Some(keepalive) = settings.keepalive() {
                    SockRef::from(&stream).set_tcp_keepalive(keepalive)?;
                }
                return Ok(stream);
            }
            Err(error) => last_error = error.into(),
        }
    }
    Err(last_error)
}

#[cfg(not(feature = "tls"))]
async fn tls(_tcp: TcpStream, _host: &str, _root: Option<&Pem>) -> Result<Stream, RedisError> {
    Err(unusable("`rediss://` needs the feature `tls`"))
}

#[cfg(feature = "tls")]
async fn tls(tcp: TcpStream, host: &str, root: Option<&Pem>) -> Result<Stream, RedisError> {
    use std::io;

    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::ServerName;

    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
    // The process may have chosen a provider. `ClientConfig::builder` would panic if it has not and
    // other crates enable more than one.
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(ring::default_provider()));
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(authorities(root)?)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    Ok(Box::pin(connector.connect(name, tcp).await?))
}

#[cfg(feature = "tls")]
fn authorities(root: Option<&Pem>) -> Result<rustls::RootCertStore, RedisError> {
    use std::io;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    let certificates = match root {
        Some(pem) => CertificateDer::pem_slice_iter(pem.bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        None => {
            let mut system = rustls_native_certs::load_native_certs();
            match system.errors.pop() {
                Some(error) if system.certs.is_empty() => {
                    return Err(io::Error::other(error).into());
                }
                _ => system.certs,
            }
        }
    };
    let mut authorities = rustls::RootCertStore::empty();
    // The system may have certificates that this library does not understand.
    authorities.add_parsable_certificates(certificates);
    Ok(authorities)
}
