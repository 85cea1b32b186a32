class Llamapool < Formula
  desc "Reach private MCP servers and LLM runtimes from anywhere, without opening a port"
  homepage "https://github.com/@REPOSITORY@"
  version "@VERSION@"
  license "MIT"

  # @ARCHIVES@

  def install
    bin.install "llamapool"
    man1.install Dir["man/man1/*"]
    bash_completion.install "completions/bash/llamapool"
    zsh_completion.install "completions/zsh/_llamapool"
    fish_completion.install "completions/fish/llamapool.fish"
    pkgshare.install "examples"
  end

  # The relay of this machine: `brew services start llamapool`, with the settings of the file.
  service do
    run [opt_bin/"llamapool", "mcp", "--reconnect", "--config-file", etc/"llamapool/relay.toml"]
    keep_alive successful_exit: false
    log_path var/"log/llamapool.log"
    error_log_path var/"log/llamapool.log"
  end

  def caveats
    <<~EOS
      The service is a relay, and needs #{etc}/llamapool/relay.toml;
      #{opt_pkgshare}/examples/relay.toml is one to begin with.
    EOS
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/llamapool --version")
    assert_match "_llamapool", shell_output("#{bin}/llamapool completions bash")
  end
end
