package blob

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Open opens the store that where names:
//
//	""                     the files in dir
//	/path, file:///path    the files in that directory
//	s3://BUCKET/PREFIX     the objects of a bucket, see [ParseS3]
func Open(where, dir string) (Store, error) {
	if where == "" {
		return OpenFiles(dir)
	}
	if filepath.IsAbs(where) {
		return OpenFiles(where)
	}
	u, err := url.Parse(where)
	if err != nil {
		// The error of url.Parse repeats the text, which may hold a password.
		return nil, bad("it is not a URL")
	}
	switch {
	case u.Scheme == "s3":
		o, err := ParseS3(u)
		if err != nil {
			return nil, err
		}
		return OpenS3(o)
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path) && u.RawQuery == "":
		return OpenFiles(filepath.FromSlash(u.Path))
	}
	return nil, bad("it is neither a path, nor file:///path, nor s3://bucket/prefix")
}

func bad(why string) error {
	return &problem.Error{Op: "use blob store", Err: fmt.Errorf("%s: %w", why, problem.ErrUsage),
		Hint: "--blobs 's3://bucket/prefix?endpoint=https://host&region=eu-central-1'"}
}

// S3Options say where a bucket is.
type S3Options struct {
	Bucket, Prefix string // the prefix without slashes around it
	Endpoint       string // http://host:port or https://host, default that of AWS
	Region         string // default us-east-1
	// Credentials is a file as the AWS tools have it, and Profile which part
	// of it. Without a file: the variables AWS_ACCESS_KEY_ID,
	// AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else the file those tools
	// read, else the role of the machine or the Pod.
	Credentials, Profile string
	// PathStyle puts the bucket into the path of a request, not before the
	// host's name. It is the default for hosts that are not AWS's.
	PathStyle bool
}

// ParseS3 reads s3://BUCKET/PREFIX?endpoint=…&region=…&credentials=…&profile=…&path-style=true.
func ParseS3(u *url.URL) (S3Options, error) {
	o := S3Options{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Region: "us-east-1"}
	if u.User != nil {
		return o, bad("credentials do not belong into a URL, which everybody on the machine can read; put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a file named by credentials=")
	}
	if o.Bucket == "" || u.Port() != "" {
		return o, bad("it names no bucket")
	}
	if o.Prefix != "" && badKey(o.Prefix) != "" {
		return o, bad("the prefix " + badKey(o.Prefix))
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return o, bad("its query cannot be read")
	}
	for name, values := range q {
		if len(values) != 1 {
			return o, bad(name + " is there more than once")
		}
		switch v := values[0]; name {
		case "endpoint":
			e, err := url.Parse(v)
			if err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" || strings.Trim(e.Path, "/") != "" || e.RawQuery != "" || e.User != nil {
				return o, bad("endpoint is not http://host:port or https://host")
			}
			o.Endpoint = v
		case "region":
			o.Region = v
		case "credentials":
			if !filepath.IsAbs(v) {
				return o, bad("credentials is not an absolute path")
			}
			o.Credentials = v
		case "profile":
			o.Profile = v
		case "path-style":
			if v != "true" && v != "false" {
				return o, bad("path-style is neither true nor false")
			}
			o.PathStyle = v == "true"
		default:
			return o, bad("it has an unknown parameter " + name)
		}
	}
	return o, nil
}
