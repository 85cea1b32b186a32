//! A SOCKS 5 proxy (RFC 1928, RFC 1929): connects its clients, or refuses them all.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The proxy. Dropping it ends it and all that goes through it.
pub struct SocksProxy {
    /// `127.0.0.1:<port>`
    pub address: String,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

/// The behaviour of a proxy.
#[derive(Clone)]
struct Script {
    login: Option<(String, String)>,
    /// The reply to every request, unless it is zero.
    refusal: u8,
    asked: Arc<Mutex<Vec<String>>>,
}

impl SocksProxy {
    /// Starts a proxy that asks for no login.
    pub async fn open() -> Self {
        Self::start(None, 0).await
    }

    /// Starts a proxy that asks for a user and a password.
    pub async fn with_login(user: &str, password: &str) -> Self {
        Self::start(Some((user.to_owned(), password.to_owned())), 0).await
    }

    /// Starts a proxy that gives every request this reply.
    pub async fn refusing(reply: u8) -> Self {
        Self::start(None, reply).await
    }

    async fn start(login: Option<(String, String)>, refusal: u8) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));

        let script = Script {
            login,
            refusal,
            asked: asked.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let script = script.clone();
                // A client that breaks off is the test's concern.
                connections.spawn(async move { drop(serve(client, script).await) });
            }
        });
        Self {
            address,
            asked,
            _tasks: tasks,
        }
    }

    /// Returns the targets that were asked for, such as `name localhost:80` and `address [::1]:80`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

async fn serve(mut client: TcpStream, script: Script) -> io::Result<()> {
    let [_version, count] = bytes(&mut client).await?;
    let mut methods = vec![0; count.into()];
    client.read_exact(&mut methods).await?;
    let method = if script.login.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        return client.write_all(&[5, 0xff]).await;
    }

    client.write_all(&[5, method]).await?;
    if let Some((user, password)) = &script.login {
        let [_version] = bytes(&mut client).await?;
        let given = (text(&mut client).await?, text(&mut client).await?);
        let is_right = given == (user.clone(), password.clone());
        client.write_all(&[1, u8::from(!is_right)]).await?;
        if !is_right {
            return Ok(());
        }
    }

    let target = target(&mut client).await?;
    script.asked.lock().push(target.clone());
    if script.refusal != 0 {
        return client.write_all(&reply(script.refusal)).await;
    }
    let (_, address) = target.split_once(' ').expect("two words");
    let Ok(mut server) = TcpStream::connect(address).await else {
        return client.write_all(&reply(5)).await;
    };
    client.write_all(&reply(0)).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server)
        .await
        .map(drop)
}

/// Returns a reply with the address of none.
fn reply(code: u8) -> [u8; 10] {
    [5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// Reads a request to connect.
async fn target(client: &mut TcpStream) -> io::Result<String> {
    let [_version, _command, _reserved, kind] = bytes(client).await?;
    let host = match kind {
        1 => format!("address {}", Ipv4Addr::from(bytes::<4>(client).await?)),
        3 => format!("name {}", text(client).await?),
        _ => format!("address [{}]", Ipv6Addr::from(bytes::<16>(client).await?)),
    };
    Ok(format!("{host}:{}", client.read_u16().await?))
}

async fn bytes<const N: usize>(client: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Reads a text that has its length before it.
async fn text(client: &mut TcpStream) -> io::Result<String> {
    let [length] = bytes(client).await?;
    let mut text = vec![0; length.into()];
    client.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
