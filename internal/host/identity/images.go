package identity

// MayImage says whether p may read, or write, the repository of images called
// repo as an administrator or a job. Its owner is the first part of its name.
func (p Principal) MayImage(repo string, write bool) bool {
	if p.Admin || matches(p.Scope.WriteImages, repo) {
		return true
	}
	return !write && matches(p.Scope.ReadImages, repo)
}
