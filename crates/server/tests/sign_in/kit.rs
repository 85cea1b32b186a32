//! A server with sign-in, and a client that signs in to it.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use llamapool_identity::{
    AccessMode, Approver, CallerRights, KeyText, NewKey, Pattern, Rights, Store, WorkerRights,
    digest_of,
};
use llamapool_server::{DataDirConfig, SignInConfig};
use llamapool_testkit::{Answer, Pool, Provider, ServerConfig, json_answer, soon, tools_call};
use reqwest::Response;
use serde_json::{Value, json};

use crate::document_host::NoNetwork;

/// The public URL of every server here. Requests go to loopback, as through a reverse proxy.
pub(crate) const PUBLIC: &str = "https://pool.example";
/// Where the answers of the client go unless a test says otherwise.
pub(crate) const REDIRECT: &str = "https://app.example/callback";
/// The verifier of every client here.
pub(crate) const VERIFIER: &str = "a-verifier-of-more-than-forty-three-characters";

/// A server with a store, whose ids ask for a sign-in.
pub(crate) struct Place {
    pub(crate) pool: Pool,
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(configure: impl FnOnce(&mut ServerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::in_folder(folder, configure).await
    }

    pub(crate) async fn in_folder(
        folder: tempfile::TempDir,
        configure: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let data_dir = DataDirConfig::Required(folder.path().to_owned());
        let pool = Pool::with(|server| {
            server.data_dir = data_dir;
            server.identity.default_access = AccessMode::SignIn;
            server.listen.public_url = Some(PUBLIC.parse().unwrap());
            server.sign_in = Some(SignInConfig {
                network: Arc::new(NoNetwork),
                ..SignInConfig::default()
            });
            configure(server);
        })
        .await;
        Self { pool, folder }
    }

    pub(crate) fn store(&self) -> Store {
        Store::open_in(self.folder.path()).unwrap()
    }

    /// Creates a caller key that covers some ids.
    pub(crate) async fn caller_key(&self, ids: &[&str]) -> KeyText {
        let ids = patterns(ids);
        self.key(Rights::Caller(CallerRights {
            ids,
            ..CallerRights::default()
        }))
        .await
    }

    /// Creates a caller key that covers some ids, and may only read there.
    pub(crate) async fn read_only_key(&self, ids: &[&str]) -> KeyText {
        let ids = patterns(ids);
        self.key(Rights::Caller(CallerRights {
            ids,
            read_only: true,
            ..CallerRights::default()
        }))
        .await
    }

    /// Creates a worker key that may serve some ids.
    pub(crate) async fn worker_key(&self, ids: &[&str]) -> KeyText {
        self.key(Rights::Worker(WorkerRights::of(patterns(ids))))
            .await
    }

    async fn key(&self, rights: Rights) -> KeyText {
        let text = KeyText::random(rights.kind());
        let key = NewKey {
            id: text.id().clone(),
            name: text.id().to_string(),
            rights,
            digest: text.digest(),
            expires_at: None,
        };
        let mut store = self.store();
        let change = store.create_key(&key, SystemTime::now()).unwrap();
        applied(&store, change).await;
        text
    }

    /// Makes a one-time code of the owner.
    pub(crate) fn login_code(&self) -> String {
        let code = self
            .store()
            .create_login_code(&Approver::Owner, SystemTime::now());
        code.unwrap().expose()
    }

    /// Returns where a public URL is really reached.
    pub(crate) fn reached(&self, public: &str) -> String {
        let path = public.strip_prefix(PUBLIC);
        format!("{}{}", self.pool.url, path.unwrap_or(public))
    }

    pub(crate) async fn get(&self, public: &str) -> Answer {
        let answer = self.pool.http.get(self.reached(public)).send();
        Answer::read(soon("an answer", answer).await.unwrap()).await
    }

    /// Sends a form.
    pub(crate) async fn form(&self, public: &str, form: &[(&str, &str)]) -> Answer {
        let body = encoded(form);
        let request = self.pool.http.post(self.reached(public));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(body).send();
        Answer::read(soon("an answer", answer).await.unwrap()).await
    }

    /// Registers a client.
    pub(crate) async fn register(&self, metadata: &Value) -> Answer {
        let request = self.pool.http.post(self.reached("/oauth/register"));
        let answer = request.json(metadata).send();
        Answer::read(soon("an answer", answer).await.unwrap()).await
    }

    /// Returns a client that has registered with one redirect.
    pub(crate) async fn app(&self, redirect: &str) -> App {
        let metadata = json!({"client_name": "An app", "redirect_uris": [redirect]});
        let registered = self.register(&metadata).await;
        assert_eq!(registered.status(), 201, "{}", registered.text());
        App {
            id: registered.json()["client_id"].as_str().unwrap().to_owned(),
            redirect: redirect.to_owned(),
        }
    }

    /// Calls an id with a key or token.
    pub(crate) async fn call(&self, id: &str, credential: Option<&str>) -> Response {
        let request = self.pool.http.post(self.pool.mcp(id));
        let request = request.json(&tools_call(1, "scripted"));
        let request = match credential {
            Some(credential) => request.bearer_auth(credential),
            None => request,
        };
        soon("an answer", request.send()).await.unwrap()
    }

    /// Signs an app in to an id. Returns its tokens.
    pub(crate) async fn sign_in(&self, app: &App, id: &str, credential: &str) -> Value {
        let page = app.page(self, id).await;
        let answer = self.allow(&page, credential, &[]).await;
        let code = parameter(&location(&answer), "code").expect("a code");
        let tokens = app.redeem(self, &code).await;
        assert_eq!(tokens.status(), 200, "{}", tokens.text());
        tokens.json()
    }

    /// Sends the form of a page with a credential.
    pub(crate) async fn allow(
        &self,
        page: &str,
        credential: &str,
        more: &[(&str, &str)],
    ) -> Answer {
        let request = sealed(page);
        let mut form = vec![
            ("request", request.as_str()),
            ("decision", "allow"),
            ("credential", credential),
        ];
        form.extend(more);
        self.form("/oauth/consent", &form).await
    }
}

/// A client that has registered.
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) redirect: String,
}

impl App {
    /// Returns the parameters of its authorization request.
    pub(crate) fn parameters(&self, id: &str) -> Vec<(&'static str, String)> {
        vec![
            ("response_type", "code".to_owned()),
            ("client_id", self.id.clone()),
            ("redirect_uri", self.redirect.clone()),
            ("state", "the state".to_owned()),
            ("code_challenge", challenge(VERIFIER)),
            ("code_challenge_method", "S256".to_owned()),
            ("resource", format!("{PUBLIC}/api/mcp/id/{id}")),
        ]
    }

    /// Begins an authorization. Returns the page.
    pub(crate) async fn page(&self, place: &Place, id: &str) -> String {
        let answer = authorize(place, &self.parameters(id)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.text().to_owned()
    }

    pub(crate) async fn redeem(&self, place: &Place, code: &str) -> Answer {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect),
            ("client_id", &self.id),
            ("code_verifier", VERIFIER),
        ];
        place.form("/oauth/token", &form).await
    }

    pub(crate) async fn refresh(&self, place: &Place, token: &str) -> Answer {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", &self.id),
        ];
        place.form("/oauth/token", &form).await
    }
}

/// Sends an authorization request.
pub(crate) async fn authorize(place: &Place, parameters: &[(&str, String)]) -> Answer {
    let parameters: Vec<_> = parameters
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let query = encoded(&parameters);
    place
        .get(&format!("{PUBLIC}/oauth/authorize?{query}"))
        .await
}

/// Returns the parameters with one of them changed, or left out.
pub(crate) fn with(
    parameters: &[(&'static str, String)],
    name: &'static str,
    value: Option<&str>,
) -> Vec<(&'static str, String)> {
    let mut changed = parameters.to_vec();
    changed.retain(|(own, _)| *own != name);
    changed.extend(value.map(|value| (name, value.to_owned())));
    changed
}

pub(crate) fn encoded(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish()
}

pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest_of(verifier.as_bytes()))
}

/// Returns the sealed request of a page.
pub(crate) fn sealed(page: &str) -> String {
    let start = page
        .split_once("name=\"request\" value=\"")
        .expect("a form")
        .1;
    start.split_once('"').expect("an end").0.to_owned()
}

/// Returns where an answer leads.
pub(crate) fn location(answer: &Answer) -> String {
    assert_eq!(answer.status(), 303, "{}", answer.text());
    answer.header("location").expect("a location").to_owned()
}

/// Returns a parameter of a URL's query.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    let found = parameters.find(|(own, _)| own == name);
    found.map(|(_, value)| value.into_owned())
}

/// Waits until a server has applied a change.
pub(crate) async fn applied(store: &Store, change: i64) -> u64 {
    soon("the server applies the change", async {
        loop {
            if let Some(applied) = store.acknowledgement(change).unwrap() {
                return applied.ended;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

pub(crate) fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

/// Starts a provider that answers with the headers that it gets, a line each.
pub(crate) async fn showing_headers() -> Provider {
    Provider::answering(|request| async move {
        let lines = request.headers().iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            format!("{name}: {value}\n")
        });
        json_answer(&lines.collect::<String>())
    })
    .await
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
