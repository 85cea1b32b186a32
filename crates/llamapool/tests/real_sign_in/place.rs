//! A server with sign-in, a relay of an MCP server behind it, and a caller key.

use std::net::{Ipv4Addr, TcpListener};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Pool, Process, soon, tools_call};
use crate::parts::{FASTMCP_2, PATH, Served, root};

/// The id of the MCP server.
pub(crate) const ID: &str = "notes";

/// A server with sign-in and what it needs.
pub(crate) struct Place {
    /// The server.
    pub(crate) pool: Pool,
    /// A caller key that covers the id.
    pub(crate) key: String,
    data: tempfile::TempDir,
    _provider: Served,
    _relay: Process,
}

impl Place {
    /// Starts a server whose access tokens end after this time.
    pub(crate) async fn start(access_ttl: &str) -> Self {
        Self::with(&[("ACCESS_TTL", access_ttl)]).await
    }

    /// Starts a server with these settings besides.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = free_port().to_string();
        let public_url = format!("http://127.0.0.1:{port}");
        let own = [
            ("DATA_DIR", data.path().to_str().unwrap()),
            ("PUBLIC_URL", &*public_url),
            ("SIGN_IN", "on"),
        ];
        let settings: Vec<_> = own.iter().chain(settings).copied().collect();
        let pool = Pool::on_port(&port, &settings).await;
        let provider = Served::start(FASTMCP_2, "echo.py").await;
        let relay = pool.relay(ID, &provider.redirecting_url()).await;
        let mut place = Self {
            pool,
            key: String::new(),
            data,
            _provider: provider,
            _relay: relay,
        };
        let create = ["key", "create", "caller", "--name", "mine", "--ids", ID];
        place.key = place.run(&create).await.trim().to_owned();
        place
    }

    /// Returns the public URL of the id.
    pub(crate) fn url(&self) -> String {
        self.pool.mcp(ID)
    }

    /// Runs a command on the server's data. Returns what it printed.
    pub(crate) async fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llamapool"));
        command.args(arguments).env_clear().kill_on_drop(true);
        command.env("DATA_DIR", self.data.path());
        let output = soon("the command ends", command.output()).await.unwrap();
        let notes = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {notes}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns how often the tokens of all grants were refreshed.
    pub(crate) async fn refreshed(&self) -> u64 {
        let grants: Value =
            serde_json::from_str(&self.run(&["grant", "list", "--json"]).await).unwrap();
        let turns = grants.as_array().unwrap().iter();
        turns
            .map(|grant| grant["refreshes"].as_u64().unwrap())
            .sum()
    }

    /// Revokes the key.
    pub(crate) async fn revoke(&self) {
        let id = self.key.split('_').nth(2).unwrap();
        self.run(&["key", "revoke", id]).await;
    }

    /// Starts a program of `tests/parts/sign_in` at the URL of the id. The browser that it uses has the key.
    pub(crate) fn client(&self, interpreter: &std::path::Path, name: &str) -> Process {
        let folder = root().join("tests/parts/sign_in");
        let mut command = Command::new(interpreter);
        command
            .arg(folder.join(name))
            .arg(self.url())
            .env_clear()
            .env("LLAMAPOOL_BROWSER", folder.join("browser"))
            .env("LLAMAPOOL_KEY", &self.key)
            .env(
                "LLAMAPOOL_PARTS",
                std::env::var_os("LLAMAPOOL_PARTS").unwrap(),
            )
            .env("PATH", PATH)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUTF8", "1");
        Process::start(command)
    }
}

/// Returns what a line of a client's output is about, if it is one.
pub(crate) fn observation(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    value["saw"].is_string().then_some(value)
}

/// Returns a port that is free now. A server must know its public URL before it listens.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A verifier and its challenge (RFC 7636, appendix B).
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A client that has registered itself, and what a client does besides its browser.
pub(crate) struct Registered {
    id: String,
    base: String,
    resource: String,
    http: reqwest::Client,
}

impl Registered {
    /// Registers a client with one redirect.
    pub(crate) async fn new(place: &Place, name: &str, redirect: &str) -> Self {
        let request = json!({
            "client_name": name,
            "redirect_uris": [redirect],
            "token_endpoint_auth_method": "none",
        });
        let base = format!("{}/oauth", place.pool.url);
        let register = place.pool.http.post(format!("{base}/register"));
        let answer = register.json(&request).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let answer: Value = answer.json().await.unwrap();
        Self {
            id: answer["client_id"].as_str().unwrap().to_owned(),
            base,
            resource: place.url(),
            http: place.pool.http.clone(),
        }
    }

    /// Returns the URL that its browser loads.
    pub(crate) fn authorize(&self, redirect: &str) -> String {
        let parameters = [
            ("response_type", "code"),
            ("client_id", &*self.id),
            ("redirect_uri", redirect),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("resource", &*self.resource),
            ("state", "a state"),
        ];
        let url = format!("{}/authorize", self.base);
        reqwest::Url::parse_with_params(&url, parameters)
            .unwrap()
            .into()
    }

    /// Takes the code of the address that the browser came back with to the token endpoint, and calls with the token.
    pub(crate) async fn redeem(&self, address: &str, redirect: &str) {
        let address = reqwest::Url::parse(address).unwrap();
        let value = |wanted: &str| {
            let found = address.query_pairs().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.into_owned())
        };
        assert_eq!(value("state").as_deref(), Some("a state"));
        assert_eq!(value("iss").as_deref(), Some(&*self.base));
        let code = value("code").expect("a code");
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("redirect_uri", redirect),
            ("client_id", &*self.id),
            ("code_verifier", VERIFIER),
        ];
        let form = reqwest::Url::parse_with_params("form:", form).unwrap();
        let request = self.http.post(format!("{}/token", self.base));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request
            .body(form.query().unwrap().to_owned())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();

        let call = self.http.post(&self.resource).json(&tools_call(1, "echo"));
        let call = call.bearer_auth(answer["access_token"].as_str().unwrap());
        assert_eq!(call.send().await.unwrap().status(), 200);
    }
}
