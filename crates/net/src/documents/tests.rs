//! Documents from a server on loopback, and addresses that are never asked.

use std::sync::atomic::{AtomicUsize, Ordering};

use crosspoint_base::Rng;
use rcgen::generate_simple_self_signed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;

/// An HTTPS server that gives every request this answer.
struct Server {
    port: u16,
    asked: Arc<AtomicUsize>,
    trusted: Arc<ClientConfig>,
}

impl Server {
    async fn start(answer: impl Into<Vec<u8>>) -> Self {
        let made = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let trusted = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), answer.into());
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 2048];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { port, asked, trusted: Arc::new(trusted) }
    }

    fn documents(&self, adjust: impl FnOnce(&mut DocumentsConfig)) -> Documents {
        let mut config = DocumentsConfig {
            tls: self.trusted.clone(),
            hosts: vec![],
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            max_bytes: 1000,
            patience: Duration::from_secs(20),
            user_agent: "Crosspoint",
        };
        adjust(&mut config);
        Documents::new(config, Arc::new(Resolver::from_system(Rng::from_u64(1))))
    }

    fn address(&self) -> String {
        format!("https://localhost:{}/chain.pem", self.port)
    }
}

fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

#[tokio::test]
async fn a_document_is_fetched_once_while_it_is_fresh() {
    let server = Server::start(ok("Cache-Control: public, max-age=600\r\n", "PEM")).await;
    let documents = server.documents(|_| {});
    let address = server.address();
    let (a, b) = tokio::join!(documents.get(&address), documents.get(&address));
    assert_eq!((a, b), (Ok(Bytes::from("PEM")), Ok(Bytes::from("PEM"))));
    assert_eq!(documents.get(&address).await, Ok(Bytes::from("PEM")));
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
}

/// Who misses something in a document has it fetched again, but not as often as it likes.
#[tokio::test]
async fn a_document_is_fetched_again_when_it_is_a_minute_old() {
    let server = Server::start(ok("Cache-Control: max-age=3600\r\n", "PEM")).await;
    let documents = server.documents(|_| {});
    let address = server.address();
    for _ in 0..3 {
        assert_eq!(documents.get_again(&address).await, Ok(Bytes::from("PEM")));
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    documents.shared.forget(&address, Instant::now() + AT_LEAST);
    assert_eq!(documents.get(&address).await, Ok(Bytes::from("PEM")));
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_servers_do_wrong_has_a_name() {
    let moved = "HTTP/1.1 302 Found\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n";
    let large = ok("", &"x".repeat(1001));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_000));
    for (answer, expected) in [
        (moved.to_owned(), DocumentError::Status(302)),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            DocumentError::Status(404),
        ),
        (large, DocumentError::TooLarge),
        (endless, DocumentError::TooLarge),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), DocumentError::Http),
    ] {
        let server = Server::start(answer).await;
        let documents = server.documents(|_| {});
        assert_eq!(documents.get(&server.address()).await, Err(expected.clone()));
        // A failure is kept as well.
        assert_eq!(documents.get(&server.address()).await, Err(expected));
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn only_what_may_be_asked_is_asked() {
    let server = Server::start(ok("", "PEM")).await;
    let port = server.port;
    let inside = server.documents(|config| config.allow.clear());
    let listed = server.documents(|config| config.hosts = vec!["other.example".to_owned()]);
    for (documents, address, expected) in [
        (&inside, format!("https://localhost:{port}/"), DocumentError::NotPublic),
        (&inside, "https://127.0.0.1/".to_owned(), DocumentError::NotPublic),
        (&inside, "https://169.254.169.254/latest".to_owned(), DocumentError::NotPublic),
        (&inside, "https://[::ffff:127.0.0.1]/".to_owned(), DocumentError::NotPublic),
        (&inside, "https://[::1]/".to_owned(), DocumentError::NotPublic),
        (&inside, "https://8.8.8.8:22/".to_owned(), DocumentError::Port),
        (&inside, format!("http://localhost:{port}/"), DocumentError::Address),
        (&inside, "file:///etc/passwd".to_owned(), DocumentError::Address),
        (&inside, "https://user@localhost/".to_owned(), DocumentError::Address),
        (&inside, "https:///x".to_owned(), DocumentError::Address),
        (&inside, String::new(), DocumentError::Address),
        (&listed, format!("https://localhost:{port}/"), DocumentError::Host),
    ] {
        assert_eq!(documents.get(&address).await, Err(expected), "{address}");
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_server_that_nobody_trusts_gives_nothing() {
    let (server, other) = (Server::start(ok("", "PEM")).await, Server::start("").await);
    let documents = other.documents(|_| {});
    assert_eq!(documents.get(&server.address()).await, Err(DocumentError::Tls));
}

#[test]
fn freshness_is_read_from_the_header() {
    for (header, expected) in [
        ("max-age=60", Some(60)),
        ("public, max-age=3600, must-revalidate", Some(3600)),
        ("no-store", None),
        ("max-age=x", None),
    ] {
        assert_eq!(max_age(header), expected.map(Duration::from_secs), "{header}");
    }
}
