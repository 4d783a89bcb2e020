//! Logging in with a name and a password that lie in files. They are read for each connection,
//! so that a changed password needs no restart. The password is nowhere in a log or an error; the
//! name is only where the database itself tells it of a right that its user lacks.

use std::io;
use std::path::Path;
use std::pin::Pin;

use scylla::authentication::{
    AuthError, AuthenticatorProvider, AuthenticatorSession, PlainTextAuthenticator,
};
use tokio::task::spawn_blocking;

use crate::fs::{OsFs, read_file};

use super::settings::CredentialFiles;

/// Longest name or password: far above any, far below what a wrong path may lead to.
const BYTES_MAX: usize = 4096;

/// Logs in anew for each connection.
pub(super) struct Login {
    files: CredentialFiles,
}

/// What a login begins with: the first answer and who answers what comes next.
type Begun = (Option<Vec<u8>>, Box<dyn AuthenticatorSession>);

impl Login {
    pub(super) fn new(files: CredentialFiles) -> Self {
        Self { files }
    }

    async fn begin(&self, authenticator: &str) -> Result<Begun, AuthError> {
        let files = self.files.clone();
        let read = spawn_blocking(move || read(&files)).await;
        let plain = read.map_err(|error| format!("read of the login failed: {error}"))??;
        plain.start_authentication_session(authenticator).await
    }
}

impl AuthenticatorProvider for Login {
    // As `async_trait` writes it, without the crate.
    fn start_authentication_session<'own, 'name, 'future>(
        &'own self,
        authenticator: &'name str,
    ) -> Pin<Box<dyn Future<Output = Result<Begun, AuthError>> + Send + 'future>>
    where
        'own: 'future,
        'name: 'future,
        Self: 'future,
    {
        Box::pin(self.begin(authenticator))
    }
}

/// The name that is logged in with now, so that it can be kept out of what is told.
pub(super) async fn name(files: &CredentialFiles) -> Option<String> {
    let path = files.username.clone();
    spawn_blocking(move || line("username", &path).ok()).await.ok().flatten()
}

fn read(files: &CredentialFiles) -> Result<PlainTextAuthenticator, AuthError> {
    let username = line("username", &files.username)?;
    let password = line("password", &files.password)?;
    Ok(PlainTextAuthenticator::new(username, password))
}

/// A file's text without the newline that editors put at its end.
fn line(what: &str, path: &Path) -> Result<String, AuthError> {
    let wrong = |why: &str| format!("{what} file {}: {why}", path.display());
    let bytes = read_file(&OsFs, path, BYTES_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => wrong("is over 4096 bytes"),
        _ => wrong(&error.to_string()),
    })?;
    let mut text = String::from_utf8(bytes).map_err(|_| wrong("is not text"))?;
    for end in ['\n', '\r'] {
        if text.ends_with(end) {
            text.pop();
        }
    }
    match text.as_str() {
        "" => Err(wrong("is empty")),
        // It parts name and password on the wire.
        text if text.contains('\0') => Err(wrong("has a zero byte")),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_is_a_files_text_without_its_last_newline() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("password");
        let cases: [(&[u8], Result<&str, &str>); 8] = [
            (b"secret", Ok("secret")),
            (b"secret\n", Ok("secret")),
            (b"secret\r\n", Ok("secret")),
            (b" two\nlines \n\n", Ok(" two\nlines \n")),
            (b"", Err("is empty")),
            (b"\n", Err("is empty")),
            (b"\xff\xfe", Err("is not text")),
            (b"a\0b", Err("has a zero byte")),
        ];
        for (content, expected) in cases {
            fs::write(&path, content).expect("written");
            let expected = expected
                .map(str::to_owned)
                .map_err(|why| format!("password file {}: {why}", path.display()));
            assert_eq!(line("password", &path), expected);
        }
        fs::write(&path, vec![b'a'; BYTES_MAX + 1]).expect("written");
        let large = line("password", &path).expect_err("too large");
        assert!(large.ends_with("is over 4096 bytes"), "{large}");
        let missing = line("password", &directory.path().join("none")).expect_err("not there");
        assert!(missing.contains("none: No such file"), "{missing}");
    }

    #[tokio::test]
    async fn a_changed_password_is_used_for_the_next_connection() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let login =
            Login::new(CredentialFiles { username: path("username"), password: path("password") });
        fs::write(path("username"), "mesh\n").expect("written");
        for password in ["old", "new"] {
            fs::write(path("password"), password).expect("written");
            let (first, _) = login.start_authentication_session("any").await.expect("readable");
            assert_eq!(first, Some(format!("\0mesh\0{password}").into_bytes()));
            assert_eq!(name(&login.files).await.as_deref(), Some("mesh"));
        }
        fs::remove_file(path("username")).expect("removed");
        assert_eq!(name(&login.files).await, None);
    }
}
