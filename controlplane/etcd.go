package main

import (
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/grpclog"

	"fita.dev/controlplane/internal/settings"
)

const (
	etcdQuotaBytes = 8 << 30 // the largest size etcd recommends; the default of 2 GiB stops all writes when reached

	// The one member elects itself after at most two election times; there is no network to be patient with.
	etcdTickMs     = 10
	etcdElectionMs = 100
)

// runEtcd runs until ctx ends. started is closed when it takes requests.
func runEtcd(ctx context.Context, s settings.Settings, started chan<- struct{}) error {
	logging := zap.NewProductionConfig()
	logging.Level.SetLevel(zap.WarnLevel)
	logging.DisableStacktrace = true
	logging.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	logger, err := logging.Build()
	if err != nil {
		return err
	}
	// Client and server are one process: what gRPC says about connections between them is no news.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, os.Stderr))
	config, err := etcdConfig(s, logger)
	if err != nil {
		return err
	}
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	defer logging.Level.SetLevel(zap.DPanicLevel) // an orderly stop logs its closed sockets as errors
	select {
	case <-server.Server.ReadyNotify():
		close(started)
	case err := <-server.Err():
		return err
	case <-ctx.Done():
		return nil
	}
	select {
	case err := <-server.Err():
		return err
	case <-server.Server.StopNotify():
		return errors.New("the server stopped by itself")
	case <-ctx.Done():
		return nil
	}
}

func etcdConfig(s settings.Settings, logger *zap.Logger) (*embed.Config, error) {
	client, err := url.Parse(settings.EtcdClientURL)
	if err != nil {
		return nil, err
	}
	peer, err := url.Parse(settings.EtcdPeerURL)
	if err != nil {
		return nil, err
	}
	config := embed.NewConfig()
	config.Dir = filepath.Join(s.DataDir, "etcd")
	config.ListenClientUrls = []url.URL{*client}
	config.AdvertiseClientUrls = []url.URL{*client}
	config.ListenPeerUrls = []url.URL{*peer}
	config.AdvertisePeerUrls = []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.EnableGRPCGateway = false
	config.QuotaBackendBytes = etcdQuotaBytes
	config.TickMs = etcdTickMs
	config.ElectionMs = etcdElectionMs
	config.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	return config, nil
}
